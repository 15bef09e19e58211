"""`yolo-backbones new`."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__, names
from .completion import complete_backbone, complete_base
from .output import PROGRAM, fail, told_in_one_line


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
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the YAML of a detector with another backbone, to go on editing."""
    if output not in {"", "-"}:
        _check_file(Path(output), force)  # before torch is imported
    # Ultralytics logs to stdout, and the YAML may go there.
    with told_in_one_line(), contextlib.redirect_stdout(sys.stderr):
        from .. import write_yaml
        from ..composition import compose, levels  # slow

        config = compose(base, backbone, weights=weights)
        default = names.not_for_sam(Path(config["yaml_file"]).name)
        name = default if output in {"", "-"} else output
        comment = _header(config, base, backbone, name, weights)
        text = write_yaml.dumps(config, comment, levels(config))
    if output == "-":
        print(text, end="")
        return
    _check_file(Path(name), force)
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{name} cannot be written: {error.strerror}; choose another place with -o")
    for line in comment.splitlines()[1 : 3 if config.get("scales") else 2]:
        print(line)


def _check_file(file: Path, force: bool) -> None:
    """End the command where a model's YAML cannot be written, or could not be used."""
    if os.path.isdir(file):  # Path.is_dir raises where a name is too long
        fail(f"{file} is a folder; name a file in it with -o")
    if file.suffix not in names.SUFFIXES:
        fail(f"{file} would not be read as a model's YAML; give it a name that ends in .yaml")
    if names.taken_for_sam(file.stem):
        way_out = f"such as {names.not_for_sam(file.name)}"
        fail(f"`yolo` takes a model called {file.name} for Segment Anything; choose another name, {way_out}")
    if not os.path.isdir(file.parent):
        fail(f"there is no folder {file.parent}; make it first, or choose another place with -o")
    if os.path.exists(file) and not force:
        fail(f"{file} exists already; give --force to overwrite it, or another name with -o")


def _header(config: dict[str, Any], base: str, backbone: str, name: str, weights: Path | None) -> str:
    call = shlex.join([PROGRAM, "new", base, backbone, *(["--weights", str(weights)] if weights else [])])
    lines = [
        f"{base.removesuffix('.yaml')} with backbone {backbone}. Written by {PROGRAM} {__version__}: {call}",
        f"yolo train model={name} data={_data(config['head'][-1][2])}",
    ]
    if config.get("scales"):
        lines.append(_scale_comment(name, config["scales"]))
    modules = {row[2] for row in config["backbone"]}
    if "Network" in modules:
        lines.append("Row 0 is the whole backbone; its maps leave at the FeatureMap rows, where the base's did.")
    if "nn.Identity" in modules:
        lines.append("nn.Identity keeps the numbers of the rows behind it, which the head refers to.")
    return "\n".join(lines)


def _data(head: str) -> str:
    """Choose a small data set for what a head learns."""
    if head == "Classify":
        return "mnist160"
    tasks = {"Semantic": "cityscapes8", "Segment": "coco8-seg", "Pose": "coco8-pose", "OBB": "dota8", "Depth": "depth8"}
    return next((f"{data}.yaml" for task, data in tasks.items() if task in head), "coco8.yaml")


def _scale_comment(name: str, scales: dict[str, Any]) -> str:
    """Say which scale a file of that name has: its letter's or, without one, the first of scales."""
    meant = next(iter(scales))
    letter = names.scale(Path(name).stem)
    if not letter:
        return f"Scale {meant}: the first of scales, since the file's name has no letter behind the version."
    if letter == meant:
        return f"Scale {meant}, by the letter in the file's name; without one, the first of scales counts."
    if letter not in scales:
        raise ValueError(
            f"{name} asks for scale {letter}, which is not among {', '.join(scales)}; choose another name with -o"
        )
    return f"Scale {letter}, by the letter in the file's name, which may be any of {', '.join(scales)}."
