"""Rows of blocks in one row, for detectors with fewer rows than a family's stages need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from ultralytics.nn import modules as layers

from .. import registry
from .protocol import Features


class Chain(Features):
    """Rows of blocks, one behind the other.

    Args:
        c1: channels of the image.
        rows: [repeats, block, args] each, used as they are. A block is a registered one, or a layer of Ultralytics'.
        taps: the rows whose maps are returned, in rising order.

    Raises:
        ValueError: a block is unknown.
    """

    def __init__(self, c1: int, rows: Sequence[Sequence[Any]], taps: Sequence[int]) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.channels = ()
        stages = []
        for i, (n, name, args) in enumerate(rows):
            stages.append(_build_row(c1, n, name, list(args)))
            c1 = _channels_out(c1, name, args)
            if i in self.taps:
                self.channels += (c1,)
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Run the rows."""
        found = [x := stage(x) for stage in self.stages]
        return [found[i] for i in self.taps]


def _channels_out(c1: int, name: str, args: Sequence[Any]) -> int:
    block = registry.blocks().get(name)
    if block is not None and block.contract.output:
        return block.contract.output([c1], args)
    return args[0] if block is None or block.contract.row else c1


def _build_row(c1: int, n: int, name: str, args: list[Any]) -> nn.Module:
    block = registry.blocks().get(name)
    if block is None:
        layer = vars(layers).get(name)
        if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
            raise ValueError(
                f"Network: its rows name a block {name}, which is unknown: neither registered "
                "(`yolo_backbones.register`) nor a layer of Ultralytics'"
            )
        return nn.Sequential(*(layer(args[0] if i else c1, *args) for i in range(n)))
    if block.contract.several:
        raise ValueError(f"Network: its rows name {name}, which reads several rows, and here each reads the one before")
    if block.contract.whole:
        raise ValueError(f"Network: its rows name {name}, which is a whole network, and no row of one")
    if not block.contract.row:
        return nn.Sequential(*(block.build(*[c1][: len(block.contract.given)], *args) for _ in range(n)))
    if block.like == "C2f":
        return block.build(c1, args[0], n, *args[1:])
    return nn.Sequential(*(block.build(args[0] if i else c1, *args) for i in range(n)))
