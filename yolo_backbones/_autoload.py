"""Activates the plugin right after `ultralytics.nn.tasks` has run, whichever way that module comes to be run.

`UltralyticsFinder` calls for this when the module is looked for. Standard library only: whatever is wrong with the
plugin's own dependencies has to be caught here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import environment

TASKS = "ultralytics.nn.tasks"
SEAM = "yolo_backbones.seam"

_told = False


def find_spec(asked: object, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """Find `ultralytics.nn.tasks`, or the plugin, through the finders that come after the one that was asked."""
    if environment.disabled():
        return None
    finders = list(sys.meta_path)
    for finder in finders[finders.index(asked) + 1 :] if asked in finders else finders:
        spec: ModuleSpec | None = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
        if spec is not None:
            if spec.loader is not None and (name == TASKS or TASKS not in sys.modules):
                _safely(_watch, spec.loader, name)
            return spec
    return None


def activate() -> None:
    """Activate the plugin, and say so if that fails; never raises."""
    _safely(_activate)


def _activate() -> None:
    if environment.disabled():
        return
    imported = sys.modules.get(SEAM)
    if imported is not None and not hasattr(imported, "activate"):
        return  # half imported: it is what imports Ultralytics, and is watched itself
    from yolo_backbones import seam

    seam.activate()


def _watch(loader: Any, name: str) -> None:
    """Have the loader activate the plugin right after it has run the module called `name`.

    Its `exec_module` is replaced on the instance, and only until then. A proxy in its place would hide what inspect,
    pkgutil and debuggers ask of a loader: `get_source`, `get_data`, `is_package`.
    """
    run = loader.exec_module
    before = vars(loader).get("exec_module")

    def exec_module(module: ModuleType) -> None:
        if module.__name__ != name:  # a zip file has one loader for many modules
            run(module)
            return
        if vars(loader).get("exec_module") is exec_module:  # else it was replaced again after us, for others to undo
            if before is None:
                del loader.exec_module
            else:
                loader.exec_module = before
        run(module)
        activate()

    loader.exec_module = exec_module


def _safely(step: Callable[..., None], *arguments: object) -> None:
    try:
        step(*arguments)
    except Exception as error:  # whatever it is, Ultralytics must work as it would without the plugin
        _tell(error)


def _tell(error: Exception) -> None:
    global _told
    if _told:
        return
    _told = True
    # Not by warnings.warn, which `python -W error` turns into the exception that must not happen here.
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        print(
            f"yolo_backbones: its models are not available, since the plugin failed to start with "
            f"{type(error).__name__}: {error}; {environment.DISABLE}=1 switches it off",
            file=sys.stderr,
        )
