"""One of timm's architectures, at its published size."""

from __future__ import annotations

from pathlib import Path

from ... import catalogue
from ...weights.loaded import Normalisation, Weights
from ...weights.report import CLASSIFIER, FOREIGN, UNUSED, report
from ..protocol import Map, Strides
from ..published import PublishedBackbone
from . import weights
from .features import TimmFeatures
from .maps import has, maps


class TimmBackbone(PublishedBackbone):
    """An architecture of timm's."""

    def maps(self) -> tuple[Map, ...]:
        """Implement `Backbone.maps`."""
        return tuple(Map(map.stride, map.channels) for map in maps(self.name))

    def tags(self) -> tuple[str, ...]:
        """Implement `Backbone.tags`."""
        return tuple(weights.published(self.name))

    def trained_with(self, tag: str | None) -> Normalisation:
        """Return a tag's values, or timm's for training where no weights are published."""
        return weights.normalisation(self.name, tag)

    def features(self, strides: Strides, channels: int, source: str | None) -> TimmFeatures:
        """Implement `Backbone.features`."""
        if source is None:
            return TimmFeatures(self.name, strides, channels, drop_path=self.drop_path)
        loaded = self.load(source, channels)
        body = TimmFeatures(self.name, strides, channels, loaded.state, self.drop_path)
        reasons = dict.fromkeys(body.left_out, UNUSED) | dict.fromkeys(body.unknown, FOREIGN)
        reasons |= {key: CLASSIFIER for key in reasons if key in loaded.classifier}
        report(loaded, len(loaded.state) - len(reasons), body.missing, reasons, self.name)
        return body

    def from_tag(self, tag: str, channels: int) -> Weights:
        """Implement `PublishedBackbone.from_tag`."""
        return weights.from_tag(self.name, self.name, tag, channels)

    def from_file(self, path: Path, channels: int) -> Weights:
        """Implement `PublishedBackbone.from_file`."""
        return weights.from_file(self.name, path, channels)


def find(name: str) -> TimmBackbone | None:
    """Find the architecture of that name; None if timm has none.

    The table of backbones is asked first: timm takes seconds to import.
    """
    return TimmBackbone(name) if catalogue.is_timm(name) or has(name) else None
