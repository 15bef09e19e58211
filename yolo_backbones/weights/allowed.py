"""Classes that `torch.load(weights_only=True)` accepts, for the time of one load."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_lock = threading.RLock()  # the list is torch's, and every thread's


@contextlib.contextmanager
def allowed_globals() -> Iterator[AllowedGlobals]:
    """Hold torch's list; what is added to it is taken back at the end."""
    with _lock, contextlib.ExitStack() as until_the_end:
        yield AllowedGlobals(until_the_end)


class AllowedGlobals:
    """Torch's list of allowed classes and functions, held by one thread."""

    def __init__(self, until_the_end: contextlib.ExitStack) -> None:
        self._until_the_end = until_the_end

    def add(self, entries: list[Any]) -> None:
        """Allow more: classes, or pairs of a class and the name that a file has for it."""
        known = set(torch.serialization.get_safe_globals())
        new = [entry for entry in entries if entry not in known]
        scoped = getattr(torch.serialization, "safe_globals", None)
        if not new:
            return
        if scoped is None:  # torch 2.4 cannot take one back
            torch.serialization.add_safe_globals(new)
        else:
            self._until_the_end.enter_context(scoped(new))
