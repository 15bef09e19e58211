"""Reading of a whole config."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..backbones import rows
from ..families import families
from . import blocks, networks
from .same import same_as
from .spelling import listed

MARK = rows.DIALECT  # of a config that has been read
_READ = "read"  # its value here; a user writes "own"


@dataclass(frozen=True)
class Reading:
    """A config in this package's rows.

    Attributes:
        config: the config.
        said: what was understood, each a clause: `"starnet_s1, []" as Network [...]`.
        same: the model of that name here, such as yolov8n-starnet_s1.yaml; empty if there is none.
    """

    config: dict[str, Any]
    said: tuple[str, ...]
    same: str

    @property
    def line(self) -> str:
        """Return what was understood, in a line."""
        return f"read {listed(self.said)}" + (f"; the same: {self.same}" if self.same else "")


def foreign_names() -> frozenset[str]:
    """Return the names of blocks in forks' rows that have an equal here."""
    own = {networks.TIMM_BACKBONE, networks.FEATURE_SELECT}
    return frozenset(own.union(*(family.foreign_rows for family in families().values())))


def was_read(config: Mapping[str, Any]) -> bool:
    """Tell whether the user's file has rows of a dialect where this config has those of this package."""
    return config.get(MARK) == _READ


def read(config: Mapping[str, Any]) -> Reading | None:
    """Read a config; return None if it has no row of a dialect.

    Args:
        config: as Ultralytics reads it from a YAML.

    Raises:
        ValueError: a row of a dialect means nothing, or two things; the message names the row and its arguments.
    """
    if MARK in config or not all(isinstance(config.get(part), list) for part in ("backbone", "head")):
        return None
    found = copy.deepcopy(dict(config))
    said = [*networks.rewrite(found), *blocks.rewrite(found)]
    if not said:
        return None
    found[MARK] = _READ
    return Reading(found, tuple(said), same_as(found))
