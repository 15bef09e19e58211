"""Tracing and exporting, in which blocks choose other operations than in a plain run."""

from __future__ import annotations

import torch


def tracing() -> bool:
    """Tell whether the code is being traced, as for TorchScript and ONNX: sizes become constants."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def exporting() -> bool:
    """Tell whether the code is being traced, compiled or exported by `torch.export`."""
    return tracing() or torch.compiler.is_compiling()
