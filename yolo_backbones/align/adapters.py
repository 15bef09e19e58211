"""Adapters: 1x1 convolutions behind the maps of a detector's backbone that have other channels than its teacher's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .. import detectors


def inserted(config: Mapping[str, Any], channels: Mapping[int, int]) -> dict[str, Any]:
    """Return a config with a convolution behind each of these rows, and every `from` counted anew.

    Args:
        config: a detector's, at its scale.
        channels: by row, how many the convolution gives, after scaling.

    Raises:
        ValueError: no width of a row gives so many at this scale.
    """
    found = copy.deepcopy(dict(config))
    scaling = detectors.scaling(found, found.get("scale", ""))
    parts = {part: found[part] for part in ("backbone", "head")}
    found |= {part: [] for part in parts}
    outputs: list[int] = []  # of each row, where its output is now
    for part, rows in parts.items():
        for row in rows:
            here, now = len(outputs), sum(len(found[name]) for name in parts)
            found[part].append([_moved(row[0], here, now, outputs), *row[1:]])
            if here in channels:
                width = round(channels[here] / scaling[1])
                if detectors.scaled_channels(width, scaling) != channels[here]:
                    raise ValueError(f"row {here}: no width gives an adapter {channels[here]} channels at this scale")
                found[part].append([-1, 1, "Conv", [width, 1, 1]])
                now += 1
            outputs.append(now)
    return found


def _moved(source: Any, here: int, now: int, outputs: list[int]) -> Any:
    if isinstance(source, list):
        return [_moved(one, here, now, outputs) for one in source]
    if source == -1:  # the row before, or the image
        return source
    return outputs[source] if source >= 0 else outputs[here + source] - now
