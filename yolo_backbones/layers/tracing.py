"""Whether a network runs to be written down, where other operations serve better than where it just runs."""

from __future__ import annotations

import torch


def tracing() -> bool:
    """Whether it is traced, as for TorchScript and ONNX: sizes become constants."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def exporting() -> bool:
    """Whether it is traced, compiled or exported by `torch.export`."""
    return tracing() or torch.compiler.is_compiling()
