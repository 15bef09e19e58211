"""The common part of published networks, ours and timm's: weights to load, and a single row in a YAML."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from .. import names
from ..detectors import Detector, Row
from ..layers.meta import Shapes
from ..messages import shown
from ..weights.guard import refuse_while_loading
from ..weights.loaded import Normalisation, Weights, for_channels
from ..weights.read import SUFFIXES, Unusable
from ..weights.report import some
from . import rows
from .protocol import Features, Map, Strides


@dataclass(frozen=True)
class PublishedBackbone(abc.ABC):
    """A network at its published size, that no scale letter changes.

    Args:
        name: without a tag.
        width: multiple of its channels.
        depth: multiple of its blocks in each stage.
        drop_path: stochastic depth's rate at its last block; None for the one it was published with.
        args: of its class, where it takes some.

    Attributes:
        takes_arguments: true if a row gives arguments of its class, in place of width, depth and weights.
    """

    takes_arguments: ClassVar[bool] = False

    name: str
    width: float = 1.0
    depth: float = 1.0
    drop_path: float | None = None
    args: tuple[Any, ...] = ()

    @abc.abstractmethod
    def maps(self) -> tuple[Map, ...]:
        """Implement `Backbone.maps`."""

    @abc.abstractmethod
    def tags(self) -> tuple[str, ...]:
        """Implement `Backbone.tags`."""

    @abc.abstractmethod
    def features(self, strides: Strides, channels: int, source: str | None) -> Features:
        """Implement `Backbone.features`."""

    @abc.abstractmethod
    def trained_with(self, tag: str | None) -> Normalisation | None:
        """Return mean and standard deviation of a tag's three-channel training images; None: it takes any as they are.

        Args:
            tag: None for the default one.
        """

    @abc.abstractmethod
    def from_tag(self, tag: str, channels: int) -> Weights:
        """Get the published weights of a tag, which is known to be one.

        Raises:
            ValueError: what was found cannot be used.
            ConnectionError: they have to be fetched, and cannot be.
        """

    @abc.abstractmethod
    def from_file(self, path: Path, channels: int) -> Weights:
        """Read a file's tensors as weights of this network.

        Raises:
            Unusable: it holds none, or another network's.
        """

    def normalisation(self, source: str | Path | None, channels: int) -> Normalisation | None:
        """Implement `Backbone.normalisation`. Weights from a file count as the default ones."""
        tag = None if source is None or is_path(source) else str(source)
        if tag is not None:
            self._check_tag(tag)
        found = self.trained_with(tag)
        return None if found is None else for_channels(found, channels)

    def source(self, tag: str, weights: str | Path | None) -> str | None:
        """Implement `Backbone.source`."""
        if not tag and weights is None:
            return None
        if tag and weights is not None:
            raise ValueError(
                f"{self.name}.{tag} asks for published weights, and weights={str(weights)!r} for others; give one"
            )
        if weights is not None:
            path = Path(weights).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f"weights={str(weights)!r}: there is no such file")
            return str(path.resolve())
        known = self.tags()
        if tag not in known:
            choice = " or ".join(f"{self.name}.{other}" for other in known)
            way_out = f"choose {choice}" if known else f"{self.name} without a tag is untrained"
            raise ValueError(f"{self.name} has no published weights with the tag {tag}; {way_out}")
        return tag

    def load(self, source: str | Path, channels: int = 3) -> Weights:
        """Get weights: from a cache, from where they are published, or from a file.

        Args:
            source: a tag, or a file's path.
            channels: of the image; the first convolution's weights are adapted to it as timm does.

        Raises:
            ValueError: no such tag, or what was found cannot be used.
            FileNotFoundError: no such file.
            ConnectionError: they have to be fetched, and cannot be.
        """
        refuse_while_loading(f"the weights {source}")
        if not is_path(source):
            self._check_tag(str(source))
            return self.from_tag(str(source), channels)
        path = Path(source).expanduser()
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(
                f"{self.name}: the weights file {path} {what}; check the path, or use a tag in the name"
            )
        try:
            return self.from_file(path, channels)
        except Unusable as error:
            way_out = error.way_out or f"give the weights of {self.name}"
            raise ValueError(f"{self.name}: {path} {error.reason}; {way_out}") from None

    def rows(self, detector: Detector, source: str | None) -> list[Row]:
        """Return the network as row 0, and a `FeatureMap` row where each map leaves; see `Backbone.rows`."""
        strides: Strides = "last" if detector.classifies else tuple(detector.taps)
        return rows.around(self.row(strides, source), detector)

    def row(self, strides: Strides, source: str | None) -> Row:
        """Return the row of the whole network, which gives its maps at `strides`."""
        wanted: tuple[int, ...] | Literal["last"] = "last" if strides == "last" else tuple(strides)
        layout = rows.Whole(wanted, source, self.width, self.depth, self.drop_path, args=self.args)
        return rows.whole(self.name, _channels(self, wanted), layout)

    def scaled(self, width: float, depth: float) -> PublishedBackbone:
        """Refuse; see `Backbone.scaled`."""
        raise ValueError(
            f"{self.name} comes in one size, and not at width={width}, depth={depth}; take a smaller or larger network "
            "(`yolo-backbones list`)"
        )

    def with_arguments(self, args: Sequence[Any]) -> PublishedBackbone:
        """Refuse; see `Backbone.with_arguments`."""
        raise ValueError(f"{self.name}: args={shown(list(args))} are for networks of your own; leave them out")

    def with_drop_path(self, rate: float) -> PublishedBackbone:
        """Implement `Backbone.with_drop_path`."""
        return replace(self, drop_path=rate)

    def _check_tag(self, tag: str) -> None:
        full, known = f"{self.name}.{tag}", self.tags()
        if tag in known:
            return
        if not known:
            raise ValueError(
                f"{full}: no weights are published for {self.name}; use the name without the tag, or give a file, "
                "weights=path"
            )
        near = " or ".join(f"{self.name}.{other}" for other in names.nearest(tag, known))
        raise ValueError(
            f"{full}: no weights have that tag; {f'did you mean {near}?' if near else f'{self.name} has {some(known)}'}"
        )


def is_path(source: str | Path) -> bool:
    """Tell whether a source of weights is a file's path; any other is a tag."""
    if isinstance(source, Path):
        return True
    return Path(source).suffix in SUFFIXES or source.startswith("~") or "/" in source or os.sep in source


@functools.cache
def _channels(backbone: PublishedBackbone, strides: Strides) -> tuple[int, ...]:
    backbone.maps()  # imports timm where it is needed; on the meta device torch 2.6 fails at that
    with torch.device("meta"), Shapes():
        return backbone.features(strides, 3, None).channels
