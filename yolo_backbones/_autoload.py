"""Activation of the plugin right after `ultralytics.nn.tasks` has run, however that module is run.

`UltralyticsFinder` imports this file when that module is looked for. Standard library only, so that any error in the
plugin's own dependencies can be caught here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import environment, import_hooks

TASKS = "ultralytics.nn.tasks"
SEAM = "yolo_backbones.seam"

_failure_reported = False


def find_spec(asked: object, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """Find `ultralytics.nn.tasks`, or the plugin, through the finders that come after `asked`."""
    if environment.disabled():
        return None
    finders = list(sys.meta_path)
    after = finders[finders.index(asked) + 1 :] if asked in finders else finders
    spec = import_hooks.first_spec(after, name, path, target)
    if spec is not None and spec.loader is not None and (name == TASKS or TASKS not in sys.modules):
        _run_safely(import_hooks.call_after, spec.loader, name, activate)
    return spec


def activate() -> None:
    """Activate the plugin; report a failure, and never raise."""
    _run_safely(_activate)


def _activate() -> None:
    if environment.disabled():
        return
    imported = sys.modules.get(SEAM)
    if imported is not None and not hasattr(imported, "activate"):
        return  # half imported: the plugin itself imports Ultralytics, and is activated after its own import
    from yolo_backbones import seam

    seam.activate()


def _run_safely(step: Callable[..., None], *arguments: object) -> None:
    try:
        step(*arguments)
    except Exception as error:  # on any error, Ultralytics must work as without the plugin
        _report_failure(error)


def _report_failure(error: Exception) -> None:
    global _failure_reported
    if _failure_reported:
        return
    _failure_reported = True
    # Not by warnings.warn, which `python -W error` turns into the exception that must not happen here.
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        print(
            f"yolo_backbones: its models are not available, since the plugin failed to start with "
            f"{type(error).__name__}: {error}; {environment.DISABLE}=1 switches it off",
            file=sys.stderr,
        )
