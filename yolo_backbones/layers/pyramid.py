"""Simple feature pyramid: maps at the strides for which a network has none.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022, Sec. 3.
https://arxiv.org/abs/2203.16527
Differs from the paper: BatchNorm in place of LayerNorm, so that `model.fuse()` folds it; where a map is more than four
times as fine as its source, one more deconvolution for each further doubling; and a network may have some of the wanted
maps already, see `SimpleFeaturePyramid`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from ultralytics.nn.modules.conv import ConvTranspose

from .conv import ConvBN

# Channels of a map that is made (paper, Sec. 4). It has at most as many as its source.
_WIDTH = 256


def source(strides: Iterable[int], target: int) -> int:
    """Return the stride of the map to make the one at `target` from: the nearest, the finer of two equally near."""
    return min(strides, key=lambda stride: (abs(math.log2(stride / target)), stride))


class PyramidLevel(nn.Sequential):
    """One map, made from another (paper, Sec. 3 and Fig. 2).

    Each doubling of the resolution is a 2x2 deconvolution of stride 2 to half the channels, with norm and GELU between
    two of them; each halving is max pooling. A 1x1 and a 3x3 convolution follow, each with a norm.

    Shape:
        (B, c1, H, W) -> (B, c2, H * stride / target, W * stride / target)

    Args:
        c1: channels of the source.
        c2: channels of the map.
        stride: stride of the source, a power of two.
        target: stride of the map, a power of two.
    """

    def __init__(self, c1: int, c2: int, stride: int, target: int) -> None:
        layers: list[nn.Module] = []
        while stride > target:
            half, stride = c1 // 2, stride // 2
            last = stride == target
            layers.append(nn.ConvTranspose2d(c1, half, 2, 2) if last else ConvTranspose(c1, half, act=nn.GELU()))
            c1 = half
        while stride < target:
            layers.append(nn.MaxPool2d(2))
            stride *= 2
        super().__init__(*layers, ConvBN(c1, c2), ConvBN(c2, c2, 3))


class SimpleFeaturePyramid(nn.Module):
    """Maps at the wanted strides, made from those that a network has.

    From a single map all are made, also the one at its own stride (the paper's case, a plain transformer). With several
    maps, those at wanted strides pass unchanged, and each missing one is made from the nearest, see `source`.

    Shape:
        [(B, c, H / s, W / s) for c, s in zip(channels, have)] -> [(B, c, H / s, W / s) for s in strides]

    Args:
        have: strides of the incoming maps, powers of two.
        channels: channels of the incoming maps.
        strides: wanted strides, powers of two.
        width: channels of a map that is made; no more than its source has.

    Attributes:
        channels: channels of the returned maps.
    """

    def __init__(
        self, have: Sequence[int], channels: Sequence[int], strides: Sequence[int], width: int = _WIDTH
    ) -> None:
        super().__init__()
        self.sources = tuple(have.index(source(have, stride)) for stride in strides)
        self.levels = nn.ModuleList()
        made = []
        as_they_are = len(have) > 1 or set(strides) <= set(have)
        for index, stride in zip(self.sources, strides):
            c = channels[index]
            if as_they_are and have[index] == stride:
                self.levels.append(nn.Identity())
                made.append(c)
            else:
                self.levels.append(PyramidLevel(c, min(width, c), have[index], stride))
                made.append(min(width, c))
        self.channels = tuple(made)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Pass the existing maps on and make the others."""
        return [level(maps[index]) for level, index in zip(self.levels, self.sources)]
