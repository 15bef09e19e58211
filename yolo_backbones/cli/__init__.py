"""The `yolo-backbones` command: which backbones there are, a config to go on from, and whether all is well.

A file a command. What answers at once is imported here; torch and Ultralytics are imported by the commands that need
them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from . import bench, doctor, info, listing, new
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
app.command()(bench.bench)
app.command()(doctor.doctor)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command, and say in one line what went wrong, if something does."""
    try:
        code = app(args, prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        fail("aborted")
    except Exception as error:
        # What typer finds wrong with the arguments. The class is click's in some of its releases, its own in others.
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
    """Other backbones for Ultralytics YOLO."""
    if version:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())
