"""Blocks in the place of YOLO11's C3k2, for which `parse_model` has two rules that no registered block is under.

From a row of C3k2 on, heads are built as YOLO11's, and at scales m, l and x each of its blocks is a C3k.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ultralytics.nn.modules import Detect

from .. import registry
from . import row_checks

_C3K = 1  # its place in a row's arguments, [c2, c3k, e]
_deep_scales = frozenset("mlx")
_lock = threading.RLock()


def present(config: Mapping[str, Any]) -> bool:
    """Tell whether a config has such a row."""
    return any(map(_is_one, row_checks.block_names(config)))


def with_c3k(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with C3k in each such row, if its scale has that."""
    if config.get("scale") not in _deep_scales:
        return config
    config = copy.deepcopy(config)
    for row in [*config["backbone"], *config["head"]]:
        if _is_one(row[2]):
            row[3][_C3K : _C3K + 1] = [True]
    return config


def _is_one(name: str) -> bool:
    block = registry.blocks().get(name)
    return block is not None and getattr(block.cls, "like_c3k2", False)


@contextlib.contextmanager
def heads_of_yolo11() -> Iterator[None]:
    """Build heads as YOLO11's, for this time."""
    plain = Detect.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "legacy", False)  # `parse_model` sets the class's, which is less than the instance's
        plain(self, *args, **kwargs)

    with _lock:
        Detect.__init__ = init
        try:
            yield
        finally:
            Detect.__init__ = plain
