"""Common part of the backends' workers: a picture, and forwards that are timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..hardware import processor
from . import memory


class Timed:
    """Base of the workers that time one model, in one form or several.

    Attributes:
        forwards: forward of each form (`fused`, `unfused`); a call returns when the arithmetic is done.
    """

    def __init__(self) -> None:
        self.forwards: dict[str, Callable[[], Any]] = {}
        self._baseline = memory.resident()  # after the imports, before the model

    def run(self, form: str) -> dict[str, float]:
        """Time the second of two forwards. The first wakes threads and fills caches after other models' turns."""
        self.forwards[form]()
        start = time.perf_counter()
        self.forwards[form]()
        return {"seconds": time.perf_counter() - start}

    def warm_up(self, form: str, times: int) -> None:
        """Run forwards that are not timed."""
        for _ in range(times):
            self.forwards[form]()

    def usage(self) -> dict[str, Any]:
        """Return the processor, the memory that the model took, and the memory left for others."""
        return {
            "hardware": processor(),
            "memory": memory.peak() - self._baseline,
            "held": memory.resident(),
            "available": memory.available(),
        }


def image(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the random picture, in 0..1, that all models get."""
    return np.random.default_rng(0).random(shape, np.float32)
