"""Removal of channels by structured pruning, where a pruner cannot follow them through a block."""

from __future__ import annotations

from collections.abc import Sequence

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


def _keep(conv: nn.Conv2d, name: str, dim: int, channels: Sequence[int]) -> None:
    parameter = getattr(conv, name)
    if parameter is not None:
        kept = parameter.detach().index_select(dim, torch.tensor(channels, device=parameter.device))
        setattr(conv, name, nn.Parameter(kept, requires_grad=parameter.requires_grad))
