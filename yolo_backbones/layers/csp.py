"""Cross-stage partial layers, Ultralytics' C2f and C3k2, with other blocks in place of their bottlenecks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from ultralytics.nn.modules import Conv

from . import checks
from .memory_format import channels_last

# Builds a block from its channels, in and out: (B, c, H, W) -> (B, c, H, W).
BlockOf = Callable[[int], nn.Module]


class C2fOf(nn.Module):
    """C2f of any blocks: half of the channels run through `n` blocks, and the output of each reaches the end.

    Wang et al., "CSPNet", CVPR 2020, https://arxiv.org/abs/1911.11929, in the form of Ultralytics' YOLOv8.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    Args:
        name: of the block in a YAML row, for messages.
        c1: input channels.
        c2: output channels.
        n: number of blocks.
        e: channels of a block, as a multiple of `c2`.
        block: builds one.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, name: str, c1: int, c2: int, n: int, e: float, block: BlockOf) -> None:
        super().__init__()
        checks.whole(name, c1=c1, c2=c2, n=n)
        checks.share(name, c2, "c2", e=e)
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(block(self.c) for _ in range(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks, and join what went around them with what each gave."""
        maps = list(self.cv1(channels_last(x)).split((self.c, self.c), 1))
        for block in self.m:
            maps.append(block(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class C3Of(nn.Module):
    """C3k of any blocks, which YOLO11 has inside of a C3k2: a part of the channels through two blocks, a part around.

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels.
        block: builds one.
    """

    def __init__(self, c: int, block: BlockOf) -> None:
        super().__init__()
        hidden = c // 2
        self.cv1 = Conv(c, hidden, 1, 1)
        self.cv2 = Conv(c, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c, 1)
        self.m = nn.Sequential(block(hidden), block(hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run both parts, and join them."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
