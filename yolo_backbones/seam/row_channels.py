"""Rows that give no input channels: blocks that get them from the rows they read, and set their output's by a rule.

`parse_model` hands a block the channels of one row, and only if it knows how the row is laid out. What it does for any
row is to replace arguments that are the name of one of its variables. One of these is `ch`, the channels of each row so
far. So before it runs, the rows of such blocks get arguments that have `ch` read, and tell the channels that come out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ultralytics.utils import LOGGER

from .. import registry
from ..contracts import Contract
from ..messages import shown

# A row whose first argument is as large means channels by it, as in rows of other blocks; reductions are below.
_CHANNELS_FROM = 64
_DIVISORS = {"reduction", "reduction_ratio", "ratio", "r", "rate", "factor", "groups", "g", "num_heads", "heads"}


def parse(parse_model: Callable[..., Any], config: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Call `parse_model` on a config in which such rows are filled in."""
    layers, save = parse_model(_filled(config), *args, **kwargs)
    for layer in layers:
        if isinstance(layer.f, Reads):
            layer.f = list(layer.f)  # a checkpoint stores it
    return layers, save


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: [_fill(row, config) for row in value] if key in {"backbone", "head"} else value
        for key, value in config.items()
    }


def _fill(row: Any, config: Mapping[str, Any]) -> Any:
    block = registry.blocks().get(row[2])
    if block is None or not block.contract.filled:
        return row
    source, n, name, own = row
    own = copy.deepcopy(own)
    if block.contract.several and "c2" in block.contract.row:
        from ..detectors import scaled_channels, scaling  # here, since that may be what imports Ultralytics first

        own[0] = scaled_channels(own[0], scaling(config, config.get("scale", "")))
    reads = Reads(source if isinstance(source, list) else [source])
    return [reads if isinstance(source, list) else source, n, name, Arguments(reads, block.contract, own)]


class Reads(list[int]):
    """The rows that a row reads. As an index it is the first of them, so that `ch[f]` finds channels."""

    def __index__(self) -> int:
        return self[0]

    def channels(self, ch: Sequence[Any]) -> list[Any]:
        """Return the channels of each, from those of all rows."""
        return [ch[j] for j in self]


class Inputs(list[Any]):
    """The channels of the maps that a block reads; by its type a block's alias tells that `parse_model` calls it."""


class Arguments(list[Any]):
    """The arguments of a row, as a list of these rows, the text `ch`, and the row's own.

    Where the contract has a rule for the output's channels, `parse_model` reads the row as HGStem's, whose second
    argument is that number. Where it has none, `parse_model` passes all on as it is, and prints it.
    """

    def __init__(self, reads: Reads, contract: Contract, own: Sequence[Any]) -> None:
        super().__init__([reads, "ch", *own])
        self.output = contract.output

    def __getitem__(self, k: Any) -> Any:
        if self.output is None:
            return super().__getitem__(k)
        reads, ch, *own = self
        channels = Inputs(reads.channels(ch))
        if k == 0:
            return channels
        if k == 1:
            return self.output(channels, own) if all(isinstance(c, int) for c in channels) else 0  # refused next
        return own  # the slice from 2 on

    def __str__(self) -> str:
        reads, ch, *own = self
        return str([*reads.channels(ch), *own])


def arguments(block: registry.Block, args: Sequence[Any]) -> list[Any]:
    """Return what a block is to be built with, from what its alias was called with.

    Raises:
        ValueError: it reads a row of several maps, or the row gives a number of channels where none belongs.
    """
    if len(args) > 1 and isinstance(args[0], Reads):
        channels, own = args[0].channels(args[1]), list(args[2:])
    elif len(args) > 2 and isinstance(args[1], Inputs):
        channels, own = list(args[1]), list(args[3:])
    else:
        return list(args)
    for c in channels:
        if not isinstance(c, int):
            raise ValueError(
                f"{block.name}: it reads a row that gives several maps, of {shown(c)} channels; put a FeatureMap row "
                "between, which picks one"
            )
    if block.contract.several:
        return [channels, *own]
    if not block.contract.row:
        _check_first(block, channels[0], own)
    return [channels[0], *own]


def _check_first(block: registry.Block, c1: int, own: Sequence[Any]) -> None:
    """Refuse a number of channels as the row's first argument, or say how it was read.

    Raises:
        ValueError: it cannot be meant as what it would be.
    """
    first = next(iter(block.row_parameters), None)
    if first is None or not own or type(own[0]) is not int or own[0] < _CHANNELS_FROM:
        return
    if first.default is not first.empty and isinstance(first.default, int) and own[0] <= first.default:
        return
    value = f"{first.name}={own[0]}"
    if first.name in _DIVISORS and own[0] > c1:
        raise ValueError(
            f"{block.name}: {value} has to be at most the {c1} channels of the row it reads, which it gets by itself; "
            f"the row takes {block.row}, without channels"
        )
    LOGGER.info(f"{block.name}: the row's {own[0]} is read as {value}; its {c1} channels come from the row it reads")
