"""Operations that write into their first argument where no gradient will ask for what stood there.

On the CPU a new map of megabytes costs more than the arithmetic on it: the system hands its memory over in pages, each
at the first touch. The caller's own tensors are never written to; these are for what a block has computed itself.
"""

from __future__ import annotations

import torch

from .tracing import exporting


def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """`first * second`, element by element; `first` is lost."""
    return first.mul_(second) if _expendable(first, second) else first * second


def lerp(start: torch.Tensor, end: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`start + weight * (end - start)`; `start` is lost."""
    return start.lerp_(end, weight) if _expendable(start, end, weight) else torch.lerp(start, end, weight)


def _expendable(*tensors: torch.Tensor) -> bool:
    return not exporting() and not any(tensor.requires_grad for tensor in tensors)
