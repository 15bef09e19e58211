"""Position embeddings of another resolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def resampled(value: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Resize position embeddings that timm's own filter leaves as they are; None if they are no such grid.

    The grid is two neighbouring dimensions of four; or a square in one dimension, behind up to two class tokens; or a
    line in one dimension (offsets along a side).

    Args:
        value: the embeddings.
        shape: their new shape.
    """
    others = [d for d, (n, m) in enumerate(zip(value.shape, shape)) if n != m]
    if value.ndim != len(shape) or not others or others[-1] - others[0] != len(others) - 1:
        return None
    if len(others) > (2 if value.ndim == 4 else 1):
        return None
    first = others[0]
    if len(others) == 2:
        tokens, old, new = 0, tuple(value.shape[first : first + 2]), tuple(shape[first : first + 2])
    else:
        n, m = value.shape[first], shape[first]
        squares = (k for k in range(3) if all(k < i and math.isqrt(i - k) ** 2 == i - k for i in (n, m)))
        tokens = next(squares, 0)
        sides = math.isqrt(n - tokens), math.isqrt(m - tokens)
        is_square = sides[0] ** 2 == n - tokens and sides[1] ** 2 == m - tokens
        old, new = ((sides[0],) * 2, (sides[1],) * 2) if is_square else ((1, n), (1, m))
    grid = value.flatten(first, others[-1]).movedim(first, -1)
    kept, grid = grid[..., :tokens], grid[..., tokens:]
    planes = grid.reshape(1, -1, *old).float()
    resized = F.interpolate(planes, new, mode="bicubic", antialias=True).to(value.dtype)
    grid = torch.cat((kept, resized.reshape(*grid.shape[:-1], -1)), -1).movedim(-1, first)
    return grid.reshape(shape)
