"""Rows of tutorials and forks, put into this package's before they are checked, and told in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from .. import registry
from . import row_checks

_KNOWN_PACKAGES = {"nn", "torch", "torchvision"}


def translated(config: Mapping[str, Any], load: Callable[[], None]) -> dict[str, Any] | None:
    """Return a config in this package's rows; None if it is already.

    Args:
        config: as Ultralytics reads it from a YAML.
        load: imports the package's blocks.

    Raises:
        ValueError: a row of a dialect means nothing, or two things.
    """
    names = row_checks.all_block_names(config)
    if not any(map(_may_be_foreign, names)):
        return None
    load()
    from .. import dialects  # here, since it imports every backbone, and most configs are in no dialect

    known = registry.blocks()
    whole = any(known[name].contract.whole for name in names if name in known)
    unknown = [name for name in names if name not in known and _may_be_foreign(name)]
    if not whole and not unknown and dialects.foreign_names().isdisjoint(names):
        return None
    row_checks.check_numbers(config)
    reading = dialects.read(config)
    if reading is None:
        return None
    LOGGER.info(f"yolo_backbones: {reading.line}")
    return reading.config


def _may_be_foreign(name: str) -> bool:
    """Tell whether a block's name may be a dialect's: Ultralytics does not know it, or it is one of ours."""
    if "." in name:
        return name.partition(".")[0] not in _KNOWN_PACKAGES
    return name not in vars(tasks) or name in registry.blocks()
