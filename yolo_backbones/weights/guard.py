"""A guard: while a checkpoint is being read, no weights are fetched, and no other file is read."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Iterator

_thread = threading.local()


@contextlib.contextmanager
def checkpoint_loading() -> Iterator[None]:
    """Mark this thread as reading a checkpoint."""
    before = getattr(_thread, "loading", False)
    _thread.loading = True
    try:
        yield
    finally:
        _thread.loading = before


def refuse_while_loading(what: str) -> None:
    """Refuse to go on if this thread is reading a checkpoint.

    Raises:
        UnpicklingError: it is. Such a file builds a network, which no checkpoint of Ultralytics does.
    """
    if getattr(_thread, "loading", False):
        raise pickle.UnpicklingError(f"the checkpoint builds a network that asks for {what}, which is not allowed")
