"""The interface that every kind of backbone has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from ..detectors import Detector, Row
from ..weights.loaded import Normalisation

Strides = Sequence[int] | Literal["last"]  # "last": only the last map, of any stride, for a classifier


@dataclass(frozen=True)
class Map:
    """A map that a backbone has.

    Attributes:
        stride: image pixels to one of the map's; None where it does not divide the image, or the map's size is fixed.
        channels: its channels.
    """

    stride: int | None
    channels: int


def deepest(maps: Sequence[Map]) -> dict[int, int]:
    """Return the place of the last map of each stride, which is the deepest."""
    return {found.stride: place for place, found in enumerate(maps) if found.stride}


class Features(nn.Module):
    """A backbone without its classifier, as `Backbone.features` builds it.

    Shape:
        (B, c, H, W) -> one (B, channels[i], H / stride, W / stride) for each stride asked for

    Attributes:
        channels: of the maps.
    """

    channels: tuple[int, ...]

    @property
    def weighted(self) -> nn.Module:
        """The part that published weights are for; others make maps that the network lacks."""
        return self

    def entry(self, image: torch.Tensor) -> tuple[nn.Module, torch.Tensor]:
        """Return the network that reads the image first, and the image as it gets it: resized, for instance."""
        return self, image


class Backbone(Protocol):
    """A backbone that can take the place of a detector's own.

    Attributes:
        name: without a tag.
    """

    @property
    def name(self) -> str:
        """The name in a model's name: starnet_s1."""

    def maps(self) -> tuple[Map, ...]:
        """Return stride and channels of each of its own maps, finest first, found on the meta device."""

    def tags(self) -> tuple[str, ...]:
        """Return the tags of its published weights, the default first."""

    def normalisation(self, source: str | None, channels: int) -> Normalisation | None:
        """Return mean and standard deviation, one a channel, of the images in 0..1 that the weights expect.

        Args:
            source: a tag or a file's path, as `features` takes it; None for training from random weights.
            channels: of the image.

        Returns:
            None if it takes the image as it is.

        Raises:
            ValueError: no such tag.
        """

    def source(self, tag: str, weights: str | Path | None) -> str | None:
        """Check which weights are asked for; return a tag, a path or None, as rows and `features` take it.

        Args:
            tag: from the model's name, or an empty string.
            weights: a file in place of a tag's.

        Raises:
            ValueError: there are no such weights, or both are given.
            FileNotFoundError: there is no such file.
        """

    def features(self, strides: Strides, channels: int, source: str | None) -> Features:
        """Build it without its classifier, and load its weights.

        Args:
            strides: the maps wanted.
            channels: of the image.
            source: a tag, a file's path, or None for random weights.

        Raises:
            ValueError: it has no such map, or what was found cannot be used for it.
            FileNotFoundError: no such file.
            ConnectionError: weights have to be fetched, and cannot be.
        """

    def scaled(self, width: float, depth: float) -> Backbone:
        """Return it with other channels and another number of blocks in each stage, as multiples of its own.

        Raises:
            ValueError: it comes in one size.
        """

    def with_drop_path(self, rate: float) -> Backbone:
        """Return it with another rate of stochastic depth, from 0 at its first block to `rate` at its last.

        Raises:
            ValueError: its blocks have none.
        """

    def with_arguments(self, args: Sequence[Any]) -> Backbone:
        """Return it with other arguments of its class.

        Raises:
            TypeError: too few or too many.
            ValueError: it is no network of the user's own, or one is neither a number, a text nor a list of such.
        """

    def rows(self, detector: Detector, source: str | None) -> list[Row]:
        """Return the rows that replace the detector's own, up to its last stage.

        Raises:
            ValueError: they do not fit the detector; the message says why.
        """
