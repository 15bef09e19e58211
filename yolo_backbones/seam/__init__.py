"""The seam to Ultralytics: the only package that changes its internals, one file for each concern.

Every process calls `activate()` after `ultralytics.nn.tasks` has run. It imports little, since most processes use no
model of this package.
"""

from __future__ import annotations

import threading

import ultralytics
from ultralytics.utils import LOGGER

from .. import releases
from ..messages import one_line
from .steps import STEPS, Step

__all__ = ["activate", "failures"]

_lock = threading.RLock()
_failures: dict[str, str] = {}
_told: set[str] = set()


def activate() -> None:
    """Install each step that this Ultralytics allows, and warn of each that it does not. Idempotent."""
    with _lock:
        untried = releases.untried_series(ultralytics.__version__)
        if untried and untried not in _told:
            LOGGER.warning(f"yolo_backbones: {untried}")
            _told.add(untried)
        for step in STEPS:
            reason = _install(step)
            if reason and _failures.get(step.name) != reason:
                LOGGER.warning(f"yolo_backbones: {reason}")
            if reason:
                _failures[step.name] = reason
            else:
                _failures.pop(step.name, None)


def failures() -> dict[str, str]:
    """Return the reason and the loss of each step that could not be installed, by its name."""
    return dict(_failures)


def _install(step: Step) -> str:
    """Install a step; return in one sentence why that failed, or an empty string."""
    lost = f"so that {step.lost}" + ("" if step.essential else "; all else works")
    missing = step.missing()
    if missing:
        return f"this Ultralytics has no {' and no '.join(missing)}, {lost}"
    try:
        step.install()
    except Exception as error:  # a release may break a step in any way; the others go on
        return f"{one_line(error)}, {lost}"
    return ""
