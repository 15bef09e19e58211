"""The strides of the maps that a config's head gets, by a run on the meta device."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from ultralytics.nn import tasks

from .. import detectors, row_form
from ..layers.meta import import_before
from ..messages import FAULTS

_PROBE = 256  # pixels


def come_out(config: Mapping[str, Any]) -> bool | None:
    """Tell whether a config can be run, and its head gets maps at strides that double from one to the next.

    Its rows are checked first: a building of billions of repeats would not end.

    Returns:
        None if it cannot even be built.
    """
    try:
        row_form.check_all(config)
        layers = _build(config)
    except FAULTS:
        return None
    try:
        sizes = _sizes(layers)
    except FAULTS:
        return False
    doubling = all(finer == 2 * coarser for finer, coarser in itertools.pairwise(sizes))
    return doubling and bool(sizes) and all(_PROBE % size == 0 for size in sizes)


def _build(config: Mapping[str, Any]) -> Any:
    plain = copy.deepcopy(dict(config))
    import_before(row[2] for row in plain["backbone"] if isinstance(row[2], str))
    parse_model = inspect.unwrap(tasks.parse_model)  # the seam's own would come here again
    with torch.device("meta"), torch.no_grad():
        return parse_model(plain, 3, verbose=False)[0]


def _sizes(layers: Any) -> list[int]:
    """Return the heights of the maps that the last row reads."""
    with torch.device("meta"), torch.no_grad():
        *rows, head = layers.eval()
        x = detectors.inputs(head, detectors.outputs(rows, torch.empty(1, 3, _PROBE, _PROBE)))
    return [map.shape[-2] for map in (x if isinstance(x, list) else [x])]
