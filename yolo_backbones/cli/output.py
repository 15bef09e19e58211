"""Output of the command: errors in one line, and a console for tables."""

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
    """Report in one line what the user can correct; any other error is a defect, and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail(str(error) or type(error).__name__)


def console() -> Console:
    """Return a console for tables, as wide as the terminal."""
    # A pipe has no width, and its reader wants whole lines, unless COLUMNS is set.
    unbounded = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(highlight=False, width=10_000 if unbounded else None)
