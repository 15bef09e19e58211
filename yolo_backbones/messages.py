"""Parts of error messages: values, paths and causes, each on one short line. Standard library only."""

from __future__ import annotations

import reprlib
from pathlib import Path

_LONGEST = 80  # characters of a value

# Whatever wrong rows and arguments make Python and torch raise while a model is built or first run.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def shown(value: object) -> str:
    """Return a value as it is written, shortened to be read in a message."""
    text = " ".join(_short.repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class _Short(reprlib.Repr):
    """Writes the beginning of a value: lists of lists may be exponentially long, and numbers have any length."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxtuple = 4, 20, 20, 20
        self.maxstring = self.maxother = self.maxlong = _LONGEST

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python writes no number of more than 4,300 digits
            return "a number of thousands of digits"


_short = _Short()


def printable(path: str | Path) -> str:
    """Return a path on one line, whatever is in it."""
    return "".join(c if c.isprintable() else "?" for c in str(path))


def one_line(error: BaseException) -> str:
    """Return what an error says on one line, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__
