"""Operations of timm's networks that exporters do not know, rewritten."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Traceable(TorchFunctionMode):
    """Mode for a trace that rewrites the operations of timm's position embeddings that exporters lack or get wrong.

    Antialiased bicubic resizing, which ONNX has from opset 18 on, becomes two products with constants. Repeating each
    channel of rotary embeddings becomes an expansion: torch's exporter to ONNX writes another shape than it means.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.interpolate and kwargs.get("mode") == "bicubic" and kwargs.get("antialias"):
            x, size = args[0], kwargs["size"]
            rows, columns = (_bicubic(int(old), int(new)).to(x) for old, new in zip(x.shape[-2:], size))
            return rows @ x @ columns.T
        if func is torch.Tensor.repeat_interleave and len(args) == 3 and type(args[1]) is int:
            x, times, dim = args
            dim = dim % x.ndim
            sizes = [times if i == dim + 1 else -1 for i in range(x.ndim + 1)]
            return x.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)
        return func(*args, **kwargs)


@functools.cache
@torch.inference_mode(False)  # a later call may be one that trains
def _bicubic(old: int, new: int) -> torch.Tensor:
    """Return the matrix, (new, old), of antialiased bicubic resizing along one side: Keys' kernel at a = -1/2."""
    scale = old / new
    rows = []
    for i in range(new):
        distances = [abs((j - (i + 0.5) * scale + 0.5) / max(scale, 1)) for j in range(old)]
        row = [
            1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0
            for d in distances
        ]
        rows.append([weight / sum(row) for weight in row])
    return torch.tensor(rows)
