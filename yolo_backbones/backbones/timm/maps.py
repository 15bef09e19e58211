"""The maps of timm's networks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

from ...layers.meta import Shapes


@dataclass(frozen=True)
class Map:
    """A feature map that a network has itself.

    Attributes:
        index: its place among those that timm lists.
        pixels: image pixels to one of the map's, as timm says.
        channels: its channels.
    """

    index: int
    pixels: int
    channels: int

    @property
    def stride(self) -> int:
        """The power of two nearest to `pixels`, which serves as the map's stride."""
        return power(self.pixels)

    @property
    def scale(self) -> float:
        """Factor that scales images for that: 14/16 for patches of 14 pixels."""
        return self.pixels / self.stride


def power(pixels: int) -> int:
    """Return the power of two nearest to a stride."""
    return int(2 ** round(math.log2(pixels)))


def has(name: str) -> bool:
    """Tell whether timm has a network of that name."""
    import timm

    return "." not in name and timm.is_model(name)  # `is_model` would accept a tag


@functools.cache
def maps(name: str) -> tuple[Map, ...]:
    """Find the maps that a network has itself, one for each stride, finest first.

    Raises:
        ValueError: timm has no such architecture.
    """
    import timm

    if not has(name):
        raise ValueError(f"timm {timm.__version__} has no architecture {name!r}; `timm.list_models()` names them")
    with torch.device("meta"), Shapes():
        info = timm.create_model(name, features_only=True).feature_info.info
    found: dict[int, Map] = {}
    for index, each in enumerate(info):
        found[power(each["reduction"])] = Map(index, each["reduction"], each["num_chs"])
    return tuple(found[stride] for stride in sorted(found))
