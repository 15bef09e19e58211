"""Random weights to start from."""

from __future__ import annotations

import torch
from torch import nn


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
