"""Random weights to start from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

# Of the size with which torch begins, in front of a BatchNorm. benchmarks/README.md, "A fourth round" for a start, "How
# the alignment was chosen" for what is aligned
SHARE = 0.25

_quick = ContextVar("quick", default=True)


def relative_size(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight's root mean square in units of that with which torch begins, sqrt(1 / (3 inputs)).

    Args:
        weight: of an `nn.Conv2d`, (c2, c1 / groups, k, k).
    """
    return weight.square().mean().sqrt() * (3 * weight[0].numel()) ** 0.5


def start_quick(conv: nn.Conv2d) -> None:
    """Make a convolution small that a BatchNorm reads, so that it learns faster.

    BatchNorm divides by the deviation of what it gets, so the size changes nothing of what comes out, but for its eps.
    A step of AdamW is as large as the rate, whatever the weight, and turns a small weight further.
    """
    if _quick.get():
        with torch.no_grad():
            conv.weight *= SHARE


@contextmanager
def at_full_size() -> Iterator[None]:
    """Leave what is built within at torch's size where it would `start_quick`.

    An alignment takes thousands of steps at a high rate. It comes nearer to the teacher's maps from a quick start, and
    is a worse start for the training behind it (`benchmarks/README.md`, "A fourth round").
    """
    token = _quick.set(False)
    try:
        yield
    finally:
        _quick.reset(token)


def start_small(module: nn.Module, std: float = 0.02) -> None:
    """Fill each convolution: weights from a normal distribution, biases 0.

    Torch's own start gives a 1x1 convolution of 64 channels a deviation of 0.07. With 0.02 a block's branch is small
    beside its shortcut (`benchmarks/README.md` has what that is worth).

    Args:
        module: the block.
        std: standard deviation of the weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def start_as_identity(conv: nn.Conv2d) -> None:
    """Add 1 to the centre of a depthwise convolution's kernels.

    A chain of random kernels blurs positions away before the first step of training.
    """
    height, width = conv.kernel_size
    with torch.no_grad():
        conv.weight[:, :, height // 2, width // 2] += 1
