"""The name under which this package has the same model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import detectors, names
from ..backbones import rows
from .spelling import is_row, plain, reads


def same_as(config: Mapping[str, Any]) -> str:
    """Find the composed name of a config whose first row is a whole network; an empty string if it has none.

    The same is a detector of Ultralytics', at the scale of this config, whose rows behind the last stage are equal.
    """
    if not all(map(is_row, [*config["backbone"], *config["head"]])):
        return ""
    network = config["backbone"][0]
    if network[2] != rows.NETWORK or not {"strides", "weights"} >= set(network[3][2]):
        return ""
    options = network[3][2]
    weights = options.get("weights")
    if weights and (Path(weights).suffix or "/" in weights):
        return ""
    letter = config.get("scale") or next(iter(config.get("scales") or {}), "")
    mine = _behind(config, _taps(config, options["strides"]))
    for stem in detectors.configs():
        try:
            detector = detectors.find(names.with_scale(stem, letter))
        except (FileNotFoundError, ValueError):
            continue
        if detector.scaling == detectors.scaling(config, letter) and mine == _behind(
            detector.config, {row: stride for stride, row in detector.taps.items()}
        ):
            name = network[3][0] + (f".{weights}" if weights else "")
            return f"{names.join(detector.name, name)}.yaml"
    return ""


def _taps(config: Mapping[str, Any], strides: Any) -> dict[int, int]:
    return {i: strides[row[3][0]] for i, row in enumerate(config["backbone"]) if row[2] == rows.FEATURE_MAP}


def _behind(config: Mapping[str, Any], taps: Mapping[int, int]) -> list[Any]:
    """Return the rows behind the last stage, with what each reads: a stride, or the number of a row behind it."""
    listed = [*config["backbone"], *config["head"]]
    first = max(taps) + 1
    found = []
    for i, row in enumerate(listed[first:], first):
        places = [("stride", taps[j]) if j in taps else ("row", j - first) for j in reads(i, row)]
        found.append((places, *row[1:3], [plain(value) for value in row[3]]))
    return found
