"""Merging by `model.fuse()`, beyond a convolution and the BatchNorm behind it."""

from __future__ import annotations

import torch
from torch import nn


class Mergeable(nn.Module):
    """A block that merges more for inference than Ultralytics' `Conv`, which `model.fuse()` folds itself."""

    def merge(self) -> None:
        """Rewrite the block in place as a cheaper one with the same output in eval mode. A second call does nothing."""
        raise NotImplementedError


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `scale` and `shift` of BatchNorm in eval mode, `scale * x + shift`, in single precision at least."""
    assert bn.running_mean is not None and bn.running_var is not None  # every BatchNorm here tracks statistics
    scale = bn.weight / (bn.running_var.float() + bn.eps).sqrt()
    return scale, bn.bias - bn.running_mean * scale
