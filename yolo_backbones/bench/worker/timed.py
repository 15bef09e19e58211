"""The common part of the backends' workers: a picture, and forwards that are timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..hardware import processor
from . import memory


class Timed:
    """Runs one model, in one form or several, when told to.

    Attributes:
        forwards: by form (`fused`, `unfused`); a call returns when the arithmetic is done.
    """

    def __init__(self) -> None:
        self.forwards: dict[str, Callable[[], Any]] = {}
        self._baseline = memory.resident()  # after the imports, before the model

    def run(self, form: str) -> dict[str, float]:
        """Run two forwards; return the second's seconds. The first wakes threads and fills caches."""
        self.forwards[form]()
        start = time.perf_counter()
        self.forwards[form]()
        return {"seconds": time.perf_counter() - start}

    def warm_up(self, form: str, times: int) -> None:
        """Forward that do not count."""
        for _ in range(times):
            self.forwards[form]()

    def usage(self) -> dict[str, Any]:
        """Return where the model ran on the CPU, the memory that it took, and how much is left for others."""
        return {
            "hardware": processor(),
            "memory": memory.peak() - self._baseline,
            "held": memory.resident(),
            "available": memory.available(),
        }


def image(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the one random picture, in 0..1, that all models see."""
    return np.random.default_rng(0).random(shape, np.float32)
