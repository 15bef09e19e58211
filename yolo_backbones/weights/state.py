"""One network's weights outside it: what belongs to them, and whether tensors are the network's at all."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from .read import Unusable

State = dict[str, torch.Tensor]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LISTED = 5  # names in a message


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of one network, not yet in it.

    Attributes:
        state: the tensors, the first convolution already made to fit the image's channels. All of the network's, unless
            they come from a file that holds fewer.
        naming: whose names `state` uses: "timm" for its classification network's, "authors" for VanillaNet's authors',
            or "own" for ours.
        classifier: those names in `state` that only classification needs.
        mean: of the images they were trained on, in 0..1, one a channel.
        std: likewise.
        origin: what to call them in a message.
    """

    state: State
    naming: str
    classifier: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


def for_channels(normalisation: Normalisation, channels: int) -> Normalisation:
    """Mean and standard deviation of red, green and blue, for images of other channels; see `normalisation`."""
    mean, std = normalisation
    if channels == 1:
        return (sum(mean) / len(mean),), (sum(std) / len(std),)
    return tuple(mean[i % len(mean)] for i in range(channels)), tuple(std[i % len(std)] for i in range(channels))


def fitted(
    state: State,
    renamed: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    first: Collection[str],
    ignored: Collection[str],
    channels: int,
) -> State:
    """The tensors, the first convolutions adapted to the channels.

    Args:
        state: the tensors.
        renamed: the network's name of each.
        shapes: of the network's parameters.
        first: the network's convolutions that see the image.
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
                f"is the state dict of another network: {key} is {_size(value.shape)}, and would have to be "
                f"{_size(shape)}"
            )
        fits += value.is_floating_point()
    # A name or two is common to many networks (bn1.weight), and may even have the same shape.
    known = sum(value.is_floating_point() for value in state.values())
    if not fits or 2 * fits < min(known, len(shapes)):
        which = f"only {fits} of its {len(state)} tensors fit" if fits else f"none of its {len(state)} tensors fits"
        raise Unusable(f"is the state dict of another network: {which} ({some(state)})")
    return found


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "a single number"


def some(names: Collection[str]) -> str:
    """The first few names, and how many more."""
    listed = ", ".join(itertools.islice(names, _LISTED))
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed
