"""Stochastic depth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def drop_path(rate: float) -> nn.Module:
    """Drop a residual branch with probability `rate`, image by image, in training (Huang et al., ECCV 2016)."""
    if rate <= 0:
        return nn.Identity()
    # Here, since it imports half of torch (two seconds), and this file is imported wherever Ultralytics is.
    from torchvision.ops import StochasticDepth

    return StochasticDepth(rate, mode="row")


def linear_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Drop rates that rise evenly from 0 at the first block to `last` at the network's last, stage by stage."""
    total = sum(depths)
    rates = iter([last * i / max(total - 1, 1) for i in range(total)])
    return [[next(rates) for _ in range(depth)] for depth in depths]
