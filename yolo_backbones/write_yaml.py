"""Output of a model's config as YAML as a person would write it: one row a line, with its number and P level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# Keys that Ultralytics adds when it reads a file.
_FROM_THE_NAME = ("scale", "yaml_file")


class _Flow(yaml.SafeDumper):
    """Dumper that writes equal lists out, instead of anchors, which are hard to edit."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumps(config: Mapping[str, Any], comment: str = "", levels: Sequence[int | None] = ()) -> str:
    """Write a config as YAML; `yaml.safe_load` gives back all but `scale` and `yaml_file`, which a file's name says.

    Args:
        config: as `compose` returns it.
        comment: put at the head of the file, each of its lines behind a `#`.
        levels: the stride of each backbone row's output, None where it has none, as `composition.levels` gives them.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [""] if lines else []
    for key, value in config.items():
        if key in {"backbone", "head", *_FROM_THE_NAME} or (key == "scales" and not value):
            continue
        if key == "scales":
            lines.append("scales: # [depth, width, max_channels]")
            lines += [f"  {_flow(letter)}: {_flow(multiples)}" for letter, multiples in value.items()]
        else:
            lines.append(f"{_flow(key)}: {_flow(value)}" + (" # number of classes" if key == "nc" else ""))
    backbone, head = config["backbone"], config["head"]
    lines += ["", "backbone:", "  # [from, repeats, module, args]"]
    lines += [f"  - {_flow(row)} # {_row_label(i, levels)}" for i, row in enumerate(backbone)]
    lines += ["", "head:", *_head_lines(head, len(backbone), levels)]
    return "\n".join(lines).rstrip() + "\n"


def _flow(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Flow, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")  # a scalar alone ends with YAML's end-of-document mark


def _row_label(i: int, levels: Sequence[int | None]) -> str:
    stride = levels[i] if i < len(levels) else None
    if not stride:
        return str(i)
    return f"{i}-{_level(stride)}/{stride}" if _level(stride).startswith("P") else f"{i}, {_level(stride)}"


def _level(stride: int) -> str:
    p = math.log2(stride)
    return f"P{p:.0f}" if p.is_integer() else f"stride {stride}"


def _head_lines(rows: Sequence[Sequence[Any]], first: int, levels: Sequence[int | None]) -> list[str]:
    numbered = {j for row in rows for j in _sources(row) if j >= 0}
    relative = {i + j for i, row in enumerate(rows, first) for j in _sources(row) if j < -1}
    lines = []
    for i, row in enumerate(rows, first):
        notes = [str(i)] if i in numbered | relative else []
        others = _source_names([j if j >= 0 else i + j for j in _sources(row) if j != -1], first, levels)
        if others:
            notes.append(f"{'cat' if row[2] == 'Concat' else 'from'} {others}")
        lines.append(f"  - {_flow(row)}" + (f" # {', '.join(notes)}" if notes else ""))
        if i in numbered:  # a group of rows ends where a later row reads its map
            lines.append("")
    return lines


def _sources(row: Sequence[Any]) -> list[int]:
    return row[0] if isinstance(row[0], list) else [row[0]]


def _source_names(rows: Sequence[int], first: int, levels: Sequence[int | None]) -> str:
    """Name the rows that a head's row reads, those of the backbone by level."""
    strides = [levels[i] if i < min(first, len(levels)) else None for i in rows]
    return ", ".join(f"backbone {_level(stride)}" if stride else f"row {i}" for i, stride in zip(rows, strides))
