"""`yolo-backbones info`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from .. import catalogue, names
from ..catalogue import Entry
from .completion import complete_backbone
from .facts import as_json_object, millions, spaced
from .output import PROGRAM, console, told_in_one_line


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A backbone, with or without a tag: starnet_s1.in1k.", autocompletion=complete_backbone
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what is known of a backbone, and how to use it."""
    with told_in_one_line():
        found = catalogue.meaning(name)
        if found is not None and found.name != name:
            print(f"{PROGRAM}: {catalogue.explained(name, found)}", file=sys.stderr)
            name = found.name
        entry = _find(name)
    tag = names.split_tag(name)[1]
    if tag and entry.source == "timm" and tag != entry.tags[0]:
        entry = dataclasses.replace(entry, licence=_licence(name))
    if as_json:
        about = {"tag": tag or None, "weights": entry.origin or None, "commands": _commands(entry, tag)}
        print(json.dumps(as_json_object(entry) | about, indent=1))
        return
    out = console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in _facts(entry, tag):
        table.add_row(title, Text(value))
    out.print(table)
    commands = _commands(entry, tag)
    if commands:
        out.print()
    for command in commands:
        out.print(Text(command), soft_wrap=True)  # a command broken in two cannot be copied


def _find(name: str) -> Entry:
    try:
        return catalogue.find(name)
    except ValueError:
        from ..backbones import find, is_of_this_package  # slow, and few names are of the user's own networks

        if not is_of_this_package(name):
            raise
        maps = [map for map in find(name).maps() if map.stride]
        strides, channels = tuple(map.stride or 0 for map in maps), tuple(map.channels for map in maps)
        return Entry(name, "user", strides=strides, channels=channels, pyramid=not {8, 16, 32} <= set(strides))


def _facts(entry: Entry, tag: str) -> Iterator[tuple[str, str]]:
    yield "name", entry.name + (f" (another name of {entry.same_as})" if entry.same_as else "")
    yield "kind", entry.kind
    if entry.scaled:
        for letter, (parameters, gflops) in catalogue.scales(entry.name).items():
            yield f"yolov8{letter}-{entry.name}", f"{parameters:g}M parameters, {gflops:g} GFLOPs, the whole detector"
    if entry.reason:
        yield "only with -cls" if entry.classifies_only else "not usable", entry.reason
    # The table's figures are those of training.
    merged = ", before fuse() merges its layers" if entry.merges else ""
    if entry.parameters is not None:
        yield "parameters", f"{millions(entry)}, without classifier{merged}"
    if entry.gflops is not None:
        yield "GFLOPs", f"{entry.gflops:g} at 640 px{merged}"
    if entry.strides:
        yield "strides", spaced(entry.strides)
        yield "channels", spaced(entry.channels) or "as the detector's own"
    if entry.strides and not entry.scaled:
        through = "maps from a simple feature pyramid" if entry.pyramid else "its own maps"
        yield "strides 8, 16, 32", f"{through}, one for each"
        size = f"{entry.imgsz} px inside, whatever the image's" if entry.imgsz else "any multiple of 32"
        yield "image size", size
    if entry.top1 is not None:
        yield "ImageNet top-1", f"{entry.top1:g} %, as published"
    if entry.url:
        yield "paper", entry.url
    if entry.licence:
        others = ""
        if entry.tags[1:] and not tag:
            others = f", of the default weights; others may have another, see `{PROGRAM} info {entry.name}.TAG`"
        yield "licence", entry.licence + (others or ", of the weights")
    if entry.tags:
        for i, known in enumerate(entry.tags):
            marks = ["default"] * (i == 0) + ["asked for"] * (known == tag)
            yield "" if i else "weights", f"{entry.name}.{known}" + (f" ({', '.join(marks)})" if marks else "")
        yield "", f"from {entry.origin}; downloaded once, when a name asks for them"
    else:
        yield "weights", "none published; it starts from random ones"


def _licence(name: str) -> str:
    """Find the licence of timm's weights under a tag; the table has that of the default ones."""
    from timm.models import get_pretrained_cfg  # takes seconds

    return str(getattr(get_pretrained_cfg(name), "license", None) or "")


def _commands(entry: Entry, tag: str) -> list[str]:
    """List commands that use it, to be copied."""
    if entry.reason and not entry.classifies_only:
        return []
    token = f"{entry.name}.{tag}" if tag else entry.name
    pretrained = f"{entry.name}.{entry.tags[0]}" if entry.tags and not tag else ""
    base, end, data = ("yolov8n-cls", "-cls", "mnist160") if entry.classifies_only else ("yolov8n", "", "coco8.yaml")
    if names.taken_for_sam(token):
        return [
            f"{PROGRAM} new {base} {token}  # the YAML, under a name that `yolo` does not take for Segment Anything",
            f"yolo train model={names.not_for_sam(f'yolov8n-{token}{end}.yaml')} data={data}  # that file",
        ]
    commands = [f"yolo train model=yolov8n-{token}{end}.yaml data={data}"]
    if pretrained:
        commands.append(f"yolo train model=yolov8n-{pretrained}{end}.yaml data={data}  # pretrained")
    if not entry.classifies_only:
        others = "# or any other base, scale and task"
        commands.append(f"yolo train model=yolo11s-{token}-seg.yaml data=coco8-seg.yaml  {others}")
    return [*commands, f"{PROGRAM} new {base} {token}  # the YAML, to go on editing"]
