"""The command's messages and tables."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from rich.console import Console

PROGRAM = "yolo-backbones"


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line on stderr."""
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn what the user can put right into one line; anything else is a defect, and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail(str(error) or type(error).__name__)


def console() -> Console:
    """Return a console for tables."""
    # A pipe has no width: what reads it wants whole lines, unless the user says otherwise.
    unbounded = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(highlight=False, width=10_000 if unbounded else None)
