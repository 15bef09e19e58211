"""A family, scaled by the detector's letter: its rows stand one by one in place of the detector's own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .. import catalogue, configs, detectors
from ..detectors import Detector, Row
from . import rows
from .protocol import Map, Strides


@dataclass(frozen=True)
class FamilyBackbone:
    """A family, read from its YOLOv8 config.

    Args:
        name: of the family, or another name of it.
        file: that config.
    """

    name: str
    file: Path

    def maps(self) -> tuple[Map, ...]:
        """Return YOLOv8's strides, and the widths that the YAML gives before scaling; see `Backbone.maps`."""
        shipped = self._yolov8_detector()
        return tuple(Map(stride, shipped.width(row)) for stride, row in shipped.taps.items())

    def tags(self) -> tuple[str, ...]:
        """Return no tags: a family has no published weights."""
        return ()

    def normalisation(self, source: str | None, channels: int) -> None:
        """Return None: a family takes the image as it is."""

    def source(self, tag: str, weights: str | Path | None) -> str | None:
        """Return None, and refuse a tag or a file: a family has no published weights."""
        if not tag and weights is None:
            return None
        if tag and weights is not None:
            raise ValueError(
                f"{self.name}.{tag} asks for published weights, and weights={str(weights)!r} for others; give one"
            )
        asked = f"{self.name}.{tag}" if tag else f"weights={str(weights)!r}"
        raise ValueError(
            f"{asked}: {self.name} is a family, scaled by the detector's letter, and has no published weights; "
            f"its published networks have: {self._network_names()}"
        )

    def features(self, strides: Strides, channels: int, source: str | None) -> NoReturn:
        """Refuse: there is no whole network of it without a detector's letter.

        Raises:
            ValueError: always; the message names its published networks.
        """
        raise ValueError(
            f"{self.name} is a family, scaled by the detector's letter, whose rows a YAML has one by one; as a whole "
            f"network take one of: {self._network_names()}"
        )

    def scaled(self, width: float, depth: float) -> NoReturn:
        """Refuse: the detector's letter scales it.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} is a family, scaled by the detector's letter; leave width and depth out")

    def with_drop_path(self, rate: float) -> NoReturn:
        """Refuse: each of its rows has a rate of its own.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{self.name} is a family, whose rows a YAML has one by one; write drop_path into those that take it"
        )

    def with_arguments(self, args: Sequence[Any]) -> NoReturn:
        """Refuse: each of its rows has arguments of its own.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} is a family, whose rows a YAML has one by one; leave args out")

    def rows(self, detector: Detector, source: str | None) -> list[Row]:
        """Return its rows, at its YOLOv8's widths or at the detector's, whichever is less; see `Backbone.rows`."""
        groups = self._rows_by_map(detector)
        taps = list(detector.taps.values())
        rooms = [end - start for start, end in zip([-1, *taps], taps)]
        needed = [sum(row[2] != rows.IDENTITY for row in group) for group in groups]
        if any(more > room for more, room in zip(needed, rooms)):
            return _chain_row(groups, detector, self.name)
        placed: list[Row] = []
        for group, room in zip(groups, rooms):
            if len(group) > room:
                group = [row for row in group if row[2] != rows.IDENTITY]
            placed += [rows.identity() for _ in range(room - len(group))] + group
        return placed

    def _yolov8_detector(self) -> Detector:
        return detectors.find(self.file)

    def _network_names(self) -> str:
        family = catalogue.entries()[self.name].family  # whose other name this may be
        found = (entry for entry in catalogue.entries().values() if entry.family == family and entry.tags)
        return ", ".join(entry.name for entry in found) or "see `yolo-backbones list --pretrained`"

    def _rows_by_map(self, detector: Detector) -> list[list[Row]]:
        """Return its rows, one group for each map that the detector's head reads."""
        shipped = self._yolov8_detector()
        groups: list[list[Row]] = []
        start, narrowing = 0, 1.0
        ends = {4: max(i for i, s in enumerate(shipped.strides) if s == 4)} | dict(shipped.taps)
        group: list[Row] = []
        for stride, end in ends.items():
            widest = shipped.width(end)
            # A level that the head does not read takes its width from the next one.
            tap = detector.taps.get(stride, detector.taps.get(8) if stride == 4 else None)
            if tap is not None:
                own = shipped.width(ends[8] if stride == 4 and stride not in detector.taps else end)
                narrowing = min(1.0, detector.width(tap) / own)
            elif detector.classifies:
                narrowing = min(1.0, detector.width(detector.last) / shipped.width(shipped.last))
            added = copy.deepcopy(shipped.config["backbone"][start : end + 1])
            for row in added:
                if row[3]:
                    row[3][0] = detectors.scaled_channels(row[3][0], (1, narrowing, widest))
            group += added
            start = end + 1
            if stride in detector.taps:
                groups.append(group)
                group = []
        return groups


def _chain_row(groups: list[list[Row]], detector: Detector, name: str) -> list[Row]:
    """Put a whole family into the first row, for a detector with fewer rows than its stages."""
    chain, taps, channels = [], [], []
    for group in groups:
        for _, n, block, args in group:
            if block == rows.IDENTITY:
                continue
            scaled = [detectors.scaled_channels(args[0], detector.scaling), *args[1:]]
            chain.append([detectors.scaled_repeats(n, detector.scaling), block, scaled])
        taps.append(len(chain) - 1)
        channels.append(chain[-1][2][0])
    return rows.around(rows.chained(name, channels, chain, taps), detector)


def find(name: str) -> FamilyBackbone | None:
    """Find the family of that name; None if there is none."""
    file = configs.models().get(f"{configs.FAMILY}{name}")
    return FamilyBackbone(name, file) if file is not None else None
