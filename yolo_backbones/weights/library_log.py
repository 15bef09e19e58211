"""Messages of libraries that load for us: kept from the console, and told in one sentence of our own."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from logging.handlers import BufferingHandler

_lock = threading.RLock()  # a logger's handlers are every thread's


@contextlib.contextmanager
def captured(library: str) -> Iterator[list[logging.LogRecord]]:
    """Keep a library's log from the console; yield the list of its warnings."""
    logger, said = logging.getLogger(library), BufferingHandler(sys.maxsize)
    said.setLevel(logging.WARNING)
    with _lock:
        before = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [said], False
        try:
            yield said.buffer
        finally:
            logger.handlers, logger.propagate = before
