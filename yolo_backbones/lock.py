"""One process at a time in a folder that runs are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

FILE = ".lock"  # in the folder; no sign that it holds anything


@contextmanager
def held(folder: Path, what: str, option: str) -> Iterator[None]:
    """Hold the folder, for as long as this process lives at most: the system takes a lock from the dead.

    Args:
        folder: it is made.
        what: is done there, for the message.
        option: of the command, that names another folder.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / FILE, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(f"another {what} is running in {folder}; wait for it, or give another {option}") from None
    try:
        yield
    finally:
        lock.release()
