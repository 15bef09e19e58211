"""`yolo-backbones list`."""

from __future__ import annotations

import enum
import fnmatch
import json
import re
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from .. import aliases, catalogue, names
from ..catalogue import Entry
from .completion import complete_backbone
from .facts import as_json_object, millions, spaced
from .output import PROGRAM, console, fail, told_in_one_line


class Source(str, enum.Enum):
    """Origin of the backbones to list."""

    OWN = "own"
    TIMM = "timm"


def list_backbones(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="Part of a name, or a name with wildcards: 'convnext*'.",
            autocompletion=complete_backbone,
        ),
    ] = "",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only those with published weights.")] = False,
    max_params: Annotated[
        str, typer.Option("--max-params", metavar="NUMBER", help="Only those with at most so many parameters: 10M.")
    ] = "",
    source: Annotated[
        Source | None, typer.Option(help="This package's own families and networks, or timm's.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the backbones."""
    most = _parse_number(max_params) if max_params else None
    with told_in_one_line():
        everything = catalogue.entries().values()
    found = [entry for entry in everything if _matches(entry, pattern)] or _spelled_otherwise(pattern)
    kept = [
        entry
        for entry in found
        if (entry.tags or not pretrained)
        and (most is None or (entry.parameters is not None and entry.parameters <= most))
        and (source is None or (entry.source == "timm") == (source is Source.TIMM))
    ]
    if as_json:
        print(json.dumps([as_json_object(entry) for entry in kept], indent=1))
    elif kept:
        _print_list(kept)
    elif found:
        fail(f"the options leave none of the {len(found)} backbones that match; drop one of them")
    else:
        fail(f"no backbone matches {pattern!r}; {catalogue.hint(re.sub(r'[*?]|[][]', '', pattern))}")


def _matches(entry: Entry, pattern: str) -> bool:
    pattern = pattern.lower()
    if any(character in pattern for character in "*?["):
        return any(fnmatch.fnmatchcase(name.lower(), pattern) for name in entry.names)
    return any(pattern in name.lower() for name in entry.names)


def _spelled_otherwise(pattern: str) -> list[Entry]:
    """List the backbone that a name means, or those whose names have the pattern but for dashes and underscores."""
    meant = catalogue.meaning(pattern)
    if meant is not None:
        return [catalogue.find(names.split_tag(meant.name)[0])]
    squashed = aliases.squash(pattern)
    return [entry for entry in catalogue.entries().values() if squashed and squashed in aliases.squash(entry.name)]


def _print_list(entries: Sequence[Entry]) -> None:
    out = console()
    # The most important first, and as many as fit: a name that is cut off cannot be copied.
    columns = {
        "name": [entry.name for entry in entries],
        "params": [millions(entry) for entry in entries],
        "GFLOPs": ["" if entry.gflops is None else f"{entry.gflops:g}" for entry in entries],
        "top-1": ["" if entry.top1 is None else f"{entry.top1:.1f}" for entry in entries],
        "weights": [_tags_in_short(entry) for entry in entries],
        "strides": [spaced(entry.strides) for entry in entries],
        "channels": [spaced(entry.channels) or _note(entry) for entry in entries],
    }
    widths = {title: max(map(len, [title, *cells])) for title, cells in columns.items() if any(cells)}
    shown: list[str] = []
    for title in widths:
        if not shown or sum(widths[other] + 2 for other in [*shown, title]) - 2 <= out.width:
            shown.append(title)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in shown:
        justify: JustifyMethod = "right" if title in {"params", "GFLOPs", "top-1"} else "left"
        table.add_column(title, justify=justify, no_wrap=True)
    # One row that holds all lines: rich takes a second for one row a backbone.
    table.add_row(*(Text("\n".join(columns[title])) for title in shown))
    out.width = max(out.width, widths[shown[0]])
    out.print(table)
    left_out = [title for title in widths if title not in shown]
    count = f"{len(entries)} backbone" + "s" * (len(entries) != 1)
    notes = [f"{count}; parameters of the backbone, GFLOPs at 640 px, ImageNet top-1 of our own"]
    if left_out:
        notes.append(f"not shown for want of room: {', '.join(left_out)}; `{PROGRAM} info NAME` has them")
    # On stderr, since stdout may go into another program.
    Console(stderr=True, highlight=False, soft_wrap=True).print("\n" + "\n".join(notes), style="dim")


def _tags_in_short(entry: Entry) -> str:
    if entry.tags:
        return entry.tags[0] + (f" +{len(entry.tags) - 1}" if entry.tags[1:] else "")
    return ""


def _note(entry: Entry) -> str:
    if entry.same_as:
        return f"same as {entry.same_as}"
    if entry.classifies_only:
        return "for -cls alone"
    return "the detector's" if entry.scaled else entry.reason


def _parse_number(text: str) -> int:
    """Parse a number of parameters: 10M, 1.5m, 800k, 10_000_000."""
    match = re.fullmatch(r"([\d_]{0,15}\.?\d{1,15})([kmb]?)", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text[:40]!r} is no number of parameters; write it as 10M or 10000000")
    return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2]])
