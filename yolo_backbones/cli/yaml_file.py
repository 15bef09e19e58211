"""Model YAMLs that the command writes: where they may lie, and what stands at their head."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import names
from .output import fail


def check_file(file: Path, force: bool) -> None:
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


def write(name: str, text: str, force: bool) -> None:
    """Write the file, or end the command with the reason why not."""
    check_file(Path(name), force)
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{name} cannot be written: {error.strerror}; choose another place with -o")


def usage(config: dict[str, Any], name: str) -> list[str]:
    """Return comments that say how to train a file of that name, which scale it has, and what its rows are."""
    lines = [f"yolo train model={name} data={_data(config['head'][-1][2])}"]
    if config.get("scales"):
        lines.append(_scale_comment(name, config["scales"]))
    modules = {row[2] for row in config["backbone"]}
    if "Network" in modules:
        lines.append("Row 0 is the whole backbone; its maps leave at the FeatureMap rows, where the base's did.")
    if "nn.Identity" in modules:
        lines.append("nn.Identity keeps the numbers of the rows behind it, which the head refers to.")
    return lines


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
