"""Wrapping of Ultralytics' functions, also where other modules have imported them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_MARK = "_yolo_backbones"

Function = Callable[..., Any]


def wrap(owner: Any, name: str, wrapper: Callable[[Function], Function]) -> None:
    """Wrap `owner.name`, once by each wrapper, and put the result wherever Ultralytics has imported the plain function.

    Args:
        owner: a module or a class.
        name: of the function in it.
        wrapper: takes the function, and returns the one to call in its place.
    """
    original = getattr(owner, name)
    wrappers: frozenset[Callable[..., Any]] = getattr(original, _MARK, frozenset())
    if wrapper in wrappers:
        return
    replacement = functools.wraps(original)(wrapper(original))
    setattr(replacement, _MARK, wrappers | {wrapper})
    setattr(owner, name, replacement)
    for key, module in list(sys.modules.items()):
        if key.startswith("ultralytics") and vars(module).get(name) is original:
            setattr(module, name, replacement)


def wrapped(function: object) -> bool:
    """Tell whether a function is one that `wrap` has put in place."""
    return hasattr(function, _MARK)
