"""Operations that overwrite their first argument where no gradient needs it.

On the CPU a new map of megabytes takes more time than the arithmetic on it, since the system provides its memory page
by page, at first use. Blocks use these operations on tensors of their own, never on the caller's.
"""

from __future__ import annotations

import torch

from .tracing import exporting


def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return `first * second`, element by element; `first` may be overwritten."""
    return first.mul_(second) if _may_overwrite(first, second) else first * second


def lerp(start: torch.Tensor, end: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `start + weight * (end - start)`; `start` may be overwritten."""
    return start.lerp_(end, weight) if _may_overwrite(start, end, weight) else torch.lerp(start, end, weight)


def _may_overwrite(*tensors: torch.Tensor) -> bool:
    return not exporting() and not any(tensor.requires_grad for tensor in tensors)
