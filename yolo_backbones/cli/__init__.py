"""The `yolo-backbones` command: lists backbones, writes configs, compares models, checks the installation.

One file for each command. Only what imports fast is imported here; commands that need torch and Ultralytics import
them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from . import align, bench, compare, convert, doctor, info, listing, new
from .output import PROGRAM, fail

app = typer.Typer(
    name=PROGRAM,
    help="Other backbones for Ultralytics YOLO.",
    epilog="yolo train model=yolov8n-starnet_s1.yaml data=coco8.yaml",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(listing.list_backbones)
app.command()(info.info)
app.command()(new.new)
app.command()(convert.convert)
app.command()(align.align)
app.command()(bench.bench)
app.command()(compare.compare)
app.command()(doctor.doctor)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command, and report a wrong argument in one line."""
    try:
        code = app(args, prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        fail("aborted")
    except Exception as error:
        # typer's complaint about the arguments. Its class is click's in some releases, typer's own in others.
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message().replace("Value error, ", "").rstrip(".?")
        fail(f"{message}; see {PROGRAM} --help", code=2)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Print the version, or the help where no command is given."""
    if version:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())
