"""Functions that are called right after a module has run. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


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
