"""Libraries that load for us, kept from the console: what is worth saying we say in one sentence of our own."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from logging.handlers import BufferingHandler


@contextlib.contextmanager
def hushed(library: str) -> Iterator[list[logging.LogRecord]]:
    """Keeps a library's log from the console; gives what it warns of."""
    logger, said = logging.getLogger(library), BufferingHandler(sys.maxsize)
    said.setLevel(logging.WARNING)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [said], False
    try:
        yield said.buffer
    finally:
        logger.handlers, logger.propagate = before
