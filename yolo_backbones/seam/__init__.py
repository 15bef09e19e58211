"""The seam to Ultralytics: all that changes its internals lies in this package, a file a concern, and nowhere else.

`activate()` is called once `ultralytics.nn.tasks` has run, in every process. It imports little: most processes name no
model of ours.
"""

from __future__ import annotations

import threading

from ultralytics.utils import LOGGER

from .steps import STEPS, Step

__all__ = ["activate", "failures"]

_lock = threading.RLock()
_failures: dict[str, str] = {}


def activate() -> None:
    """Take each step of the seam that this Ultralytics allows, and say which it does not. Idempotent."""
    with _lock:
        for step in STEPS:
            reason = _take(step)
            if reason and _failures.get(step.name) != reason:
                LOGGER.warning(f"yolo_backbones: {reason}")
            if reason:
                _failures[step.name] = reason
            else:
                _failures.pop(step.name, None)


def failures() -> dict[str, str]:
    """Return what could not be done, by the step's name, each with the reason and what is lost."""
    return dict(_failures)


def _take(step: Step) -> str:
    """Return why a step could not be taken, in one sentence; an empty string if it was."""
    lost = f"so that {step.lost}" + ("" if step.essential else "; all else works")
    missing = step.missing()
    if missing:
        return f"this Ultralytics has no {' and no '.join(missing)}, {lost}"
    try:
        step.install()
    except Exception as error:  # whatever a release has changed, the other steps go on
        return f"{' '.join(str(error).split()) or type(error).__name__}, {lost}"
    return ""
