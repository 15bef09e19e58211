"""Writes a model's config as the YAML that a person would have written: a row a line, with its number and P level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# What Ultralytics adds on reading a file.
_FROM_THE_NAME = ("scale", "yaml_file")


class _Flow(yaml.SafeDumper):
    """Never refers back to an equal list by an anchor, which nobody can edit."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumps(config: Mapping[str, Any], comment: str = "", levels: Sequence[int | None] = ()) -> str:
    """Return the config as YAML; `yaml.safe_load` gives back all but `scale` and `yaml_file`, which a file's name says.

    Args:
        config: as `compose` returns it.
        comment: put at the head of the file, each of its lines behind a `#`.
        levels: the stride of each backbone row's output, None where it has none, as `composition.levels` gives them.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [""] if lines else []
    for key, value in config.items():
        if key in {"backbone", "head", *_FROM_THE_NAME}:
            continue
        if key == "scales":
            lines.append("scales: # [depth, width, max_channels]")
            lines += [f"  {_flow(letter)}: {_flow(multiples)}" for letter, multiples in value.items()]
        else:
            lines.append(f"{_flow(key)}: {_flow(value)}" + (" # number of classes" if key == "nc" else ""))
    backbone, head = config["backbone"], config["head"]
    lines += ["", "backbone:", "  # [from, repeats, module, args]"]
    lines += [f"  - {_flow(row)} # {_number(i, levels)}" for i, row in enumerate(backbone)]
    lines += ["", "head:", *_head(head, len(backbone), levels)]
    return "\n".join(lines).rstrip() + "\n"


def _flow(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Flow, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")  # a bare scalar ends with the mark of a document's end


def _number(i: int, levels: Sequence[int | None]) -> str:
    stride = levels[i] if i < len(levels) else None
    if not stride:
        return str(i)
    return f"{i}-{_level(stride)}/{stride}" if _level(stride).startswith("P") else f"{i}, {_level(stride)}"


def _level(stride: int) -> str:
    p = math.log2(stride)
    return f"P{p:.0f}" if p.is_integer() else f"stride {stride}"


def _head(rows: Sequence[Sequence[Any]], first: int, levels: Sequence[int | None]) -> list[str]:
    numbered = {j for row in rows for j in _given(row) if j >= 0}
    relative = {i + j for i, row in enumerate(rows, first) for j in _given(row) if j < -1}
    lines = []
    for i, row in enumerate(rows, first):
        notes = [str(i)] if i in numbered | relative else []
        others = _named([j if j >= 0 else i + j for j in _given(row) if j != -1], first, levels)
        if others:
            notes.append(f"{'cat' if row[2] == 'Concat' else 'from'} {others}")
        lines.append(f"  - {_flow(row)}" + (f" # {', '.join(notes)}" if notes else ""))
        if i in numbered:  # a group of rows ends where another one takes its map up
            lines.append("")
    return lines


def _given(row: Sequence[Any]) -> list[int]:
    return row[0] if isinstance(row[0], list) else [row[0]]


def _named(rows: Sequence[int], first: int, levels: Sequence[int | None]) -> str:
    """Return the rows that a head's row reads, those of the backbone by level."""
    strides = [levels[i] if i < min(first, len(levels)) else None for i in rows]
    return ", ".join(f"backbone {_level(stride)}" if stride else f"row {i}" for i, stride in zip(rows, strides))
