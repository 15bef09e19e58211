"""Merging by `model.fuse()`, beyond a convolution and the BatchNorm behind it."""

from __future__ import annotations

import torch
from torch import nn


class Mergeable(nn.Module):
    """A block with more to merge for inference than Ultralytics' `Conv` pairs, which `model.fuse()` folds itself."""

    def merge(self) -> None:
        """Rewrite the block in place to a cheaper one with the same output in eval mode. Idempotent."""
        raise NotImplementedError


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return BatchNorm in eval mode as `scale * x + shift`: two values a channel, in single precision at least."""
    assert bn.running_mean is not None and bn.running_var is not None  # none of ours goes without statistics
    scale = bn.weight / (bn.running_var.float() + bn.eps).sqrt()
    return scale, bn.bias - bn.running_mean * scale
