"""Rows in form: which others one reads, and how it is put into messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from ..messages import shown

_LONGEST = 120  # characters of a row's arguments


def is_row(row: Any) -> bool:
    """Tell whether something is a row in form: [from, repeats, block, [arguments]]."""
    return isinstance(row, list) and len(row) == 4 and isinstance(row[2], str) and isinstance(row[3], list)


def reads(i: int, row: Sequence[Any]) -> list[int]:
    """Return the numbers of the rows that row `i` reads; what is no number is left out, which the checks tell."""
    given = row[0] if isinstance(row[0], list) else [row[0]]
    return [j if j >= 0 else i + j for j in given if type(j) is int]


def plain(value: Any) -> Any:
    """Return what `parse_model` makes of a word in a row's arguments."""
    return {"True": True, "False": False, "None": None}.get(value, value) if isinstance(value, str) else value


def shown_row(block: str, args: Any) -> str:
    """Return block and arguments as a YAML has them, `starnet_s1, [true]`; what is long is shortened."""
    try:
        text = yaml.safe_dump(args, default_flow_style=True, width=10_000, sort_keys=False)
    except (yaml.YAMLError, ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        text = shown(args)
    text = " ".join(text.removesuffix("...\n").split())
    return f"{block}, {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}"


def listed(parts: Sequence[str]) -> str:
    """Join parts with commas and an "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
