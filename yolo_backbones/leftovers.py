"""Unfinished files and folders: each has its process in its name, so that those of dead processes are swept.

A process that is killed cannot remove what it was writing. The next process that writes to the same place does.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_OLD = 24 * 3600  # seconds; whether a process of another machine lives cannot be told, so age decides
_HOST = re.sub(r"[^a-z0-9]+", "_", platform.node().lower())[:40]
_NAME = re.compile(r"\.(?P<host>[a-z0-9_]*)-(?P<pid>\d+)-[0-9a-f]{32}\.part$")


def unfinished(path: Path) -> Path:
    """Return a name beside `path` that this process alone uses, for what is to become `path` by a rename."""
    return path.with_name(f"{path.name}.{_HOST}-{os.getpid()}-{uuid.uuid4().hex}.part")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` unless writing fails: a file is there whole, or as it was."""
    sweep(path)
    part = unfinished(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def sweep(path: Path) -> None:
    """Delete what processes that have ended without a word left of `path`."""
    import psutil  # slow, as the name is looked up only where something was left

    for left in path.parent.glob("*.part"):
        match = _NAME.search(left.name)
        if match is None or left.name[: match.start()] != path.name:
            continue
        if match["host"] == _HOST:
            dead = not psutil.pid_exists(int(match["pid"]))
        else:
            dead = _age(left) > _OLD
        if dead:
            remove(left)


def remove(path: Path) -> None:
    """Delete a file, a link itself, or a folder; one that is gone already, or cannot be deleted, is no error."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:  # a read-only folder; what is left there does no harm
        return


def _age(path: Path) -> float:
    """Return the seconds since something was written; 0 if the file has just gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0
