"""Tensors checked against a network, adapted to it, and loaded into it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import nn

from .loaded import State, Weights
from .read import Unusable
from .report import CLASSIFIER, FOREIGN, UNUSED, report, some


def fitted(
    state: State,
    renamed: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    first: Collection[str],
    ignored: Collection[str],
    channels: int,
) -> State:
    """Check that tensors are a network's; return them with the first convolutions adapted to the channels.

    Args:
        state: the tensors.
        renamed: the network's name of each.
        shapes: of the network's parameters.
        first: the network's convolutions that read the image.
        ignored: the network's parameters that may be of another shape.
        channels: of the image.

    Raises:
        Unusable: they are of another network: one has another shape, or few fit or none.
    """
    found, fits = dict(state), 0
    for key, value in state.items():
        name = renamed[key]
        if name not in shapes or name in ignored:
            continue
        shape = tuple(shapes[name])
        if name in first and value.ndim == 4 == len(shape) and value.shape[1] != shape[1]:
            from timm.models import adapt_input_conv  # slow

            value = found[key] = adapt_input_conv(channels, value, base_chans=value.shape[1])
        if tuple(value.shape) != shape:
            raise Unusable(
                f"is the state dict of another network: {key} is {_shape_text(value.shape)}, and would have to be "
                f"{_shape_text(shape)}"
            )
        fits += value.is_floating_point()
    # Many networks share a name or two (bn1.weight), even with the same shape.
    known = sum(value.is_floating_point() for value in state.values())
    if not fits or 2 * fits < min(known, len(shapes)):
        which = f"only {fits} of its {len(state)} tensors fit" if fits else f"none of its {len(state)} tensors fits"
        raise Unusable(f"is the state dict of another network: {which} ({some(state)})")
    return found


def _shape_text(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "a single number"


def apply(
    network: nn.Module,
    weights: Weights,
    rename: Callable[[str], str] | None,
    name: str,
    classifier: Collection[str],
    unused: Collection[str],
) -> None:
    """Load weights into a network of ours, and report what was loaded.

    Args:
        network: with or without its classifier.
        weights: what to load.
        rename: turns a publisher's name of a parameter into ours; None if the names are ours. Weights that already
            have our names are not renamed.
        name: the network's, for the report.
        classifier: the parts of the network that only classify.
        unused: the parts between its last map and the classifier.

    Raises:
        ValueError: no tensor fits.
    """
    target = network.state_dict()
    fitting: State = {}
    left_out = {}
    for key, value in weights.state.items():
        own = key if rename is None or weights.naming == "own" else rename(key)
        if own in target and target[own].shape == value.shape:
            fitting[own] = value
        elif key in weights.classifier:
            left_out[key] = CLASSIFIER
        elif part(own) in unused and own not in target:
            left_out[key] = UNUSED
        else:
            left_out[key] = "of another shape" if own in target else FOREIGN
    network.load_state_dict(fitting, strict=False)
    # Integers may be missing: BatchNorm's counters change nothing, and networks compute the others themselves.
    missing = [
        key
        for key, value in target.items()
        if key not in fitting and part(key) not in classifier and value.is_floating_point()
    ]
    report(weights, len(fitting), missing, left_out, name)


def part(key: str) -> str:
    """Return the part of a network that a parameter belongs to: the first word of its name."""
    return key.split(".")[0]
