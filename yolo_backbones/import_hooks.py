"""Functions that are called right after a module has run. Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(name: str, function: Callable[[], None]) -> None:
    """Call the function right after the module called `name` has run, which is not imported yet.

    The same function is called once, however often it is asked for before.
    """
    if not any(isinstance(finder, _Finder) and finder.waits_for == (name, function) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name, function))


class _Finder:
    """Finds one module by the finders behind it, and has a function called after it has run."""

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.waits_for = name, function

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.waits_for[0]:
            return None
        spec = first_spec([other for other in sys.meta_path if other is not self], name, path, target)
        if spec is not None and spec.loader is not None:
            call_after(spec.loader, *self.waits_for)
        return spec


def first_spec(
    finders: Sequence[Any], name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Return what the first of the finders that knows the module has found."""
    for finder in finders:
        spec: ModuleSpec | None = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None


def call_after(loader: Any, name: str, function: Callable[[], None]) -> None:
    """Have a loader call the function right after it has run the module called `name`.

    Its `exec_module` is replaced on the instance, and only until then. A proxy loader would hide what inspect, pkgutil
    and debuggers ask of a loader: `get_source`, `get_data`, `is_package`.
    """
    run = loader.exec_module
    before = vars(loader).get("exec_module")

    def exec_module(module: ModuleType) -> None:
        if module.__name__ != name:  # a zip file has one loader for many modules
            run(module)
            return
        if vars(loader).get("exec_module") is exec_module:  # else others have replaced it since, and undo it
            if before is None:
                del loader.exec_module
            else:
                loader.exec_module = before
        run(module)
        function()

    loader.exec_module = exec_module
