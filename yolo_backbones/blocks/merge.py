"""What `model.fuse()` merges beyond a convolution and the BatchNorm behind it."""

from __future__ import annotations

from torch import nn


class Mergeable(nn.Module):
    """A block with more to merge for inference than Ultralytics' `Conv` pairs, which `model.fuse()` folds itself."""

    def merge(self) -> None:
        """Rewrites the block in place to a cheaper one with the same output in eval mode. Idempotent."""
        raise NotImplementedError
