"""Cross-stage partial layers, Ultralytics' C2f and C3k2, with other blocks in place of their bottlenecks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from ultralytics.nn.modules import Conv

from . import checks
from .memory_format import channels_last
from .prunable import Divisible, outputs_of

# Builds a block from its channels, in and out: (B, c, H, W) -> (B, c, H, W).
BlockOf = Callable[[int], nn.Module]


class _CrossStage(Divisible):
    """Half of the channels run through `n` blocks, and the output of each reaches the end.

    Wang et al., "CSPNet", CVPR 2020, https://arxiv.org/abs/1911.11929, in the form of Ultralytics' YOLOv8.

    Attributes:
        divided: two convolutions, `around` and `first`, stand in place of `cv1`; a model is divided to be pruned.
    """

    divided = False

    def __init__(self, c1: int, c2: int, n: int, e: float, block: BlockOf) -> None:
        super().__init__()
        name = type(self).__name__
        checks.whole(name, c1=c1, c2=c2, n=n)
        checks.share(name, c2, "c2", e=e)
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(block(self.c) for _ in range(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks, and join what went around them with what each gave."""
        x = channels_last(x)
        maps = [self.around(x), self.first(x)] if self.divided else list(self.cv1(x).split((self.c, self.c), 1))
        for block in self.m:
            maps.append(block(maps[-1]))
        return self.cv2(torch.cat(maps, 1))

    def divide(self) -> None:
        """Put two convolutions in place of the first; the output is the same."""
        if not self.divided:
            self.around = outputs_of(self.cv1, range(self.c))
            self.first = outputs_of(self.cv1, range(self.c, 2 * self.c))
            del self.cv1
            self.divided = True

    def block(self, c: int) -> nn.Module:
        """Build a block with that many channels."""
        raise NotImplementedError


class C2fOf(_CrossStage):
    """C2f of any blocks, which a class derived from it builds.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    Args:
        c1: input channels.
        c2: output channels.
        n: number of blocks.
        shortcut: without effect, as `g`: such blocks have their own. They keep C2f's order of arguments.
        g: see `shortcut`.
        e: channels of a block, as a multiple of `c2`.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        checks.flag(type(self).__name__, shortcut=shortcut)
        super().__init__(c1, c2, n, e, self.block)


class C3k2Of(_CrossStage):
    """C3k2 of any blocks, which a class derived from it builds.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    Args:
        c1: input channels.
        c2: output channels.
        n: number of blocks.
        c3k: each block is a C3k with two of them.
        e: channels of a block, as a multiple of `c2`.

    Attributes:
        like_c3k2: true for the seam, which reads its rows as `parse_model` does those of C3k2.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    like_c3k2 = True

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5) -> None:
        checks.flag(type(self).__name__, c3k=c3k)
        super().__init__(c1, c2, n, e, (lambda c: C3Of(c, self.block)) if c3k else self.block)


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
