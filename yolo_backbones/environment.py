"""The environment variables that the package reads, each once. Standard library only."""

from __future__ import annotations

import os

DISABLE = "YOLO_BACKBONES_DISABLE"  # switches the plugin off
BLOCKS = "YOLO_BACKBONES_BLOCKS"  # modules or .py files with blocks of the user's own; `os.pathsep` between them
SAFE_LOAD = "ULTRALYTICS_SAFE_LOAD"  # Ultralytics' restricted loading

_OFF_VALUES = {"", "0", "false", "no", "off"}


def is_set(name: str) -> bool:
    """Tell whether a switch is on: set, but not to an empty value, 0, false, no or off."""
    return os.environ.get(name, "").strip().lower() not in _OFF_VALUES


def disabled() -> bool:
    """Tell whether the plugin is switched off; a script may do so before it imports Ultralytics."""
    return is_set(DISABLE)


def blocks() -> list[str]:
    """Return the entries of `BLOCKS`."""
    return [entry for entry in os.environ.get(BLOCKS, "").split(os.pathsep) if entry]


def set_blocks(entries: list[str]) -> None:
    """Write `BLOCKS`, for this process and its children."""
    os.environ[BLOCKS] = os.pathsep.join(entries)
