"""The one line that says what was loaded."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

from ultralytics.utils import LOGGER

from .loaded import Weights

# Reasons why a tensor is left out. The first two are expected; any other makes the report a warning.
CLASSIFIER = "the classifier"
UNUSED = "behind the last map used"
FOREIGN = "not part of the network"
_EXPECTED = {CLASSIFIER, UNUSED}
_MOST_LISTED = 5  # names in a message


def report(weights: Weights, loaded: int, missing: Sequence[str], left_out: Mapping[str, str], name: str) -> None:
    """Log in one line what was loaded; as a warning if parameters are missing or tensors do not belong.

    Args:
        weights: from `load`.
        loaded: how many of its tensors are in the network now.
        missing: the network's parameters that got none.
        left_out: the tensors that did not get into the network, each with the reason; `CLASSIFIER` and `UNUSED` are
            expected.
        name: the network's.

    Raises:
        ValueError: nothing was loaded.
    """
    if not loaded:
        raise ValueError(
            f"{name}: none of the {len(weights.state)} tensors from {weights.origin} fits ({some(weights.state)}); "
            f"give the weights of {name}"
        )
    parts = [f"yolo_backbones: {name}: {loaded} of {len(weights.state)} tensors from {weights.origin}"]
    for reason in dict.fromkeys(left_out.values()):
        parts.append(f"left out: {some([key for key, why in left_out.items() if why == reason])} ({reason})")
    if missing:
        parts.append(f"left as initialised, since there are none for them: {some(missing)}")
    log = LOGGER.warning if missing or set(left_out.values()) - _EXPECTED else LOGGER.info
    log("; ".join(parts))


def some(names: Collection[str]) -> str:
    """Join the first few names, and count the others."""
    listed = ", ".join(itertools.islice(names, _MOST_LISTED))
    return f"{listed} and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else listed
