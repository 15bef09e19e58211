"""Checkpoints that a training was writing when it was ended: `last.pt` is empty, and what lies beside it is whole.

Ultralytics writes `last.pt` in place, after each epoch. Killed at that moment, it leaves an empty or truncated file,
with which neither `resume=True` nor anything else works. `best.pt` has all that is needed to go on, from an earlier
epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..weights.damage import is_damaged


def whole_neighbour(file: Path) -> Path | None:
    """Find the newest whole checkpoint beside a `last.pt` that is empty or truncated; None if that is not the case."""
    if file.name != "last.pt" or not file.is_file() or not _is_cut_short(file):
        return None
    return next((other for other in _others(file) if not _is_cut_short(other)), None)


def _others(file: Path) -> Iterator[Path]:
    """Yield the checkpoints of the same run, the newest first: `best.pt`, and `epoch10.pt` of `save_period`."""
    found = [file.with_name("best.pt"), *file.parent.glob("epoch*.pt")]
    yield from sorted(filter(Path.is_file, found), key=lambda path: path.stat().st_mtime, reverse=True)


def _is_cut_short(file: Path) -> bool:
    return file.stat().st_size == 0 or is_damaged(file)
