"""One comparison in a folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder, for as long as this process lives at most: the system takes a lock from the dead.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(f"another comparison is running in {folder}; wait for it, or give another --out") from None
    try:
        yield
    finally:
        lock.release()
