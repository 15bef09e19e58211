"""Removal of channels by structured pruning, where a pruner cannot follow them through a block."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Prunable(nn.Module):
    """A part of a block with as many channels out as in, which removes channels itself.

    A pruner follows channels from layer to layer. It loses them where a part of them is split off, or where a map of
    other channels is made of all of them.
    """

    @property
    def width(self) -> int:
        """Channels in and out."""
        raise NotImplementedError

    def keep(self, channels: Sequence[int]) -> None:
        """Remove all channels but these, in and out, which are given by number, in rising order."""
        raise NotImplementedError


class Divisible(nn.Module):
    """A block that splits the output of a convolution, and can have a convolution for each part instead.

    Where a part is used more than once, a pruner fails on the split, or takes one part for the other.
    """

    def divide(self) -> None:
        """Put a convolution for each part in place of the one, once; the output is the same."""
        raise NotImplementedError


_followed = False


@contextmanager
def followed() -> Iterator[None]:
    """Have `split` give slices, while a pruner follows the channels through a model: of those it knows the bounds."""
    global _followed
    _followed = True
    try:
        yield
    finally:
        _followed = False


def split(x: torch.Tensor, sizes: Sequence[int]) -> Sequence[torch.Tensor]:
    """Split a map's channels: (B, sum(sizes), H, W) -> one (B, size, H, W) for each.

    Of the parts of torch's `split`, Torch-Pruning 1.6 may take one for the other.
    """
    if not _followed:
        return x.split(sizes, 1)
    ends = list(itertools.accumulate(sizes))
    return [x[:, end - size : end] for end, size in zip(ends, sizes)]


def outputs_of(block: Any, channels: Sequence[int]) -> Any:
    """Return a copy of a convolution and its BatchNorm with these output channels alone; see `keep_outputs_of`."""
    part = copy.deepcopy(block)
    keep_outputs_of(part, channels)
    return part


def keep_outputs_of(block: Any, channels: Sequence[int]) -> None:
    """Remove the other output channels of a convolution and its BatchNorm.

    Args:
        block: has a convolution `conv` and, until it is fused, its BatchNorm `bn`, as Ultralytics' Conv.
        channels: by number.
    """
    keep_outputs(block.conv, channels)
    bn = getattr(block, "bn", None)
    if isinstance(bn, nn.modules.batchnorm._BatchNorm):
        for name in ("weight", "bias"):
            _keep(bn, name, 0, channels)
        for name in ("running_mean", "running_var"):
            setattr(bn, name, getattr(bn, name)[list(channels)])
        bn.num_features = len(channels)


def keep_outputs(conv: nn.Conv2d, channels: Sequence[int]) -> None:
    """Remove a convolution's other output channels; of a depthwise one, its input's as well."""
    _keep(conv, "weight", 0, channels)
    _keep(conv, "bias", 0, channels)
    conv.out_channels = len(channels)
    if conv.groups > 1:
        conv.in_channels = conv.groups = len(channels)


def keep_inputs(conv: nn.Conv2d, channels: Sequence[int]) -> None:
    """Remove the other input channels of a convolution without groups."""
    _keep(conv, "weight", 1, channels)
    conv.in_channels = len(channels)


def _keep(module: nn.Module, name: str, dim: int, channels: Sequence[int]) -> None:
    parameter = getattr(module, name)
    if parameter is not None:
        kept = parameter.detach().index_select(dim, torch.tensor(channels, device=parameter.device))
        setattr(module, name, nn.Parameter(kept, requires_grad=parameter.requires_grad))
