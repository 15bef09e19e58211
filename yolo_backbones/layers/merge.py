"""Merging by `model.fuse()`, beyond a convolution and the BatchNorm behind it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")


class Mergeable(nn.Module):
    """A block that merges more for inference than Ultralytics' `Conv`, which `model.fuse()` folds itself."""

    def merge(self) -> None:
        """Rewrite the block in place as a cheaper one with the same output in eval mode. A second call does nothing."""
        raise NotImplementedError


def rewriting(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function that rewrites weights independent of the mode it is called in.

    Autograd would follow the arithmetic, and refuse what is written in place. In inference mode torch's dispatcher sees
    other operations than `Graph` looks for, and new parameters could not be changed any further.
    """

    @functools.wraps(function)
    def rewrite(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return rewrite


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `scale` and `shift` of BatchNorm in eval mode, `scale * x + shift`, in single precision at least."""
    assert bn.running_mean is not None and bn.running_var is not None  # every BatchNorm here tracks statistics
    scale = bn.weight / (bn.running_var.float() + bn.eps).sqrt()
    return scale, bn.bias - bn.running_mean * scale
