"""Facts of a backbone, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..catalogue import Entry


def as_json_object(entry: Entry) -> dict[str, Any]:
    """Return an entry as the command prints it with --json."""
    return dataclasses.asdict(entry) | {"url": entry.url}


def millions(entry: Entry) -> str:
    """Format its parameters: 2.68M."""
    if entry.parameters is None:
        return "scaled" if entry.scaled else ""
    return f"{entry.parameters / 1e6:.2f}M"


def spaced(numbers: Sequence[int]) -> str:
    """Join numbers with spaces."""
    return " ".join(map(str, numbers))
