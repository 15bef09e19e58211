"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ...leftovers import sweep, unfinished


@contextlib.contextmanager
def replace(file: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `file` unless writing fails."""
    sweep(file)
    part = unfinished(file)
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a text file."""
    with replace(file) as part:
        part.write_text(text, encoding="utf-8")
