"""Convolution and BatchNorm, with the bias that some papers keep between the two."""

from __future__ import annotations

import torch
from torch import nn
from ultralytics.nn.modules import Conv

from .in_place import activate
from .memory_format import channels_last


class ConvBN(Conv):  # type: ignore[misc]  # Ultralytics' layers are untyped
    """Ultralytics' `Conv`, which `model.fuse()` folds, without an activation by default.

    Shape:
        (B, c1, H, W) -> (B, c2, H', W'), H' = H / s if `p` is None and s divides H

    Args:
        c1: input channels.
        c2: output channels.
        k: kernel size.
        s: stride.
        p: padding; None pads to the input's size at stride 1.
        g: groups.
        d: dilation.
        act: activation; None for none.
        bias: True gives the convolution a bias, as some published weights have it. BatchNorm cancels it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        d: int = 1,
        act: nn.Module | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__(c1, c2, k, s, p, g, d, act if act is not None else False)
        if bias:
            self.conv.bias = nn.Parameter(torch.zeros(c2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and activate."""
        return activate(self.act, self.bn(self.conv(x)), self.conv, self.bn)

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and activate, after `model.fuse()`."""
        return activate(self.act, self.conv(x), self.conv)


class EntryConvBN(ConvBN):
    """`ConvBN` as a YAML row of its own, whose input may come from other layers and in any order in memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and activate."""
        return super().forward(channels_last(x))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and activate, after `model.fuse()`."""
        return super().forward_fuse(channels_last(x))
