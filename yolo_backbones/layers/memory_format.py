"""The order of a map's values in memory."""

from __future__ import annotations

import torch

from .tracing import exporting

# Without oneDNN, depthwise convolutions are several times slower with the channels innermost.
_ONEDNN = torch.backends.mkldnn.is_available()


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return the same map with its channels innermost, where that is faster: in single precision on the CPU.

    Convolutions then do not reorder their input and output, and later layers keep the order, Ultralytics' included.
    Values and shape are the same. On a GPU the user chooses the order.
    """
    if _ONEDNN and x.is_cpu and x.dtype is torch.float32 and not exporting():
        return x.contiguous(memory_format=torch.channels_last)
    return x
