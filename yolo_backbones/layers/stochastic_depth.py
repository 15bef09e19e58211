"""Stochastic depth: residual branches dropped at random in training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def drop_path(rate: float) -> nn.Module:
    """Return a layer that drops a branch with probability `rate` an image, in training (Huang et al., ECCV 2016)."""
    if rate <= 0:
        return nn.Identity()
    # Imported here, since it takes two seconds, and this file is imported wherever Ultralytics is.
    from torchvision.ops import StochasticDepth

    return StochasticDepth(rate, mode="row")


def linear_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Return rates that rise evenly from 0 at the first block to `last` at the last, as a list for each stage."""
    total = sum(depths)
    rates = iter([last * i / max(total - 1, 1) for i in range(total)])
    return [[next(rates) for _ in range(depth)] for depth in depths]
