"""`yolo-backbones new`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__, names
from . import yaml_file
from .completion import complete_backbone, complete_base
from .output import PROGRAM, told_in_one_line


def new(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE", help="A detector of Ultralytics: yolov8n, yolo11s-seg.", autocompletion=complete_base
        ),
    ],
    backbone: Annotated[
        str,
        typer.Argument(metavar="BACKBONE", help="A backbone, with or without a tag.", autocompletion=complete_backbone),
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write it; - prints it.", show_default="by name"),
    ] = "",
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Weights from a file, in place of a tag's.", show_default=False)
    ] = None,
    drop_path: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Stochastic depth of a published network, at its last block."),
    ] = None,
    frozen_bn: Annotated[
        bool, typer.Option("--frozen-bn", help="Keep the statistics of a published network's BatchNorms.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the YAML of a detector with another backbone, to go on editing."""
    if output not in {"", "-"}:
        yaml_file.check_file(Path(output), force)  # before torch is imported
    # Ultralytics logs to stdout, and the YAML may go there.
    with told_in_one_line(), contextlib.redirect_stdout(sys.stderr):
        from .. import write_yaml
        from ..composition import compose, levels  # slow

        config = compose(base, backbone, weights, drop_path, frozen_bn)
        default = names.not_for_sam(Path(config["yaml_file"]).name)
        name = default if output in {"", "-"} else output
        options = [*(["--weights", str(weights)] if weights else []), *(["--frozen-bn"] if frozen_bn else [])]
        options += [] if drop_path is None else ["--drop-path", f"{drop_path:g}"]
        comment = _header(config, base, backbone, name, options)
        text = write_yaml.dumps(config, comment, levels(config))
    if output == "-":
        print(text, end="")
        return
    yaml_file.write(name, text, force)
    for line in comment.splitlines()[1 : 3 if config.get("scales") else 2]:
        print(line)


def _header(config: dict[str, Any], base: str, backbone: str, name: str, options: list[str]) -> str:
    call = shlex.join([PROGRAM, "new", base, backbone, *options])
    written = f"{base.removesuffix('.yaml')} with backbone {backbone}. Written by {PROGRAM} {__version__}: {call}"
    return "\n".join([written, *yaml_file.usage(config, name)])
