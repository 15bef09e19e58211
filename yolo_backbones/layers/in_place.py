"""Operations that overwrite their first argument where nothing else needs it: no gradient and no hook.

On the CPU a new map of megabytes takes more time than the arithmetic on it, since the system provides its memory page
by page, at first use. Blocks use these operations on tensors of their own, never on the caller's.

Each operation is told the modules that return its first argument, `written_by`. A hook on one of them, or inside it,
may have kept that tensor, and a full backward hook has made it a view that must not be written to.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as torch_module

from .tracing import exporting

# Of hooks on all modules. torch has a function that looks at them, but not in its release 2.4.
_ON_ALL_MODULES = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


def watched(*modules: nn.Module) -> bool:
    """Tell whether there is a hook on one of the modules, on a module inside one, or on all modules.

    While a model is compiled the answer is no: each look at a hook would become a guard of the compiled code.
    """
    if torch.compiler.is_compiling():
        return False
    return any(_ON_ALL_MODULES) or any(map(_has_hooks, modules))


def _has_hooks(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return True
    return any(child is not None and _has_hooks(child) for child in module._modules.values())


def add(first: torch.Tensor, second: torch.Tensor, *written_by: nn.Module) -> torch.Tensor:
    """Return `first + second`; `first` may be overwritten, also in training, since no gradient needs it."""
    return first + second if watched(*written_by) else first.add_(second)


def multiply(first: torch.Tensor, second: torch.Tensor, *written_by: nn.Module) -> torch.Tensor:
    """Return `first * second`, element by element; `first` may be overwritten."""
    return first.mul_(second) if _may_overwrite((first, second), written_by) else first * second


def lerp(start: torch.Tensor, end: torch.Tensor, weight: torch.Tensor, *written_by: nn.Module) -> torch.Tensor:
    """Return `start + weight * (end - start)`; `start` may be overwritten."""
    if _may_overwrite((start, end, weight), written_by):
        return start.lerp_(end, weight)
    return torch.lerp(start, end, weight)


def leaky_relu(x: torch.Tensor, slope: float, *written_by: nn.Module) -> torch.Tensor:
    """Return `x` where it is positive and `slope * x` elsewhere; `x` may be overwritten, also in training."""
    return F.leaky_relu(x, slope, inplace=not watched(*written_by))


def activate(act: Any, x: torch.Tensor, *written_by: nn.Module) -> torch.Tensor:
    """Call an activation module on `x`, which may be overwritten if the activation works in place.

    With a hook on the activation or on what it would overwrite, it works out of place for this call. The module itself
    is called, so that its own hooks run.
    """
    if not getattr(act, "inplace", False) or not watched(act, *written_by):
        return act(x)
    act.inplace = False
    try:
        return act(x)
    finally:
        act.inplace = True


def spare(x: torch.Tensor, *written_by: nn.Module) -> torch.Tensor:
    """Return `x` for another module to overwrite; a copy if a hook may have kept `x`."""
    return x.clone() if watched(*written_by) else x


def _may_overwrite(tensors: tuple[torch.Tensor, ...], written_by: tuple[nn.Module, ...]) -> bool:
    return not exporting() and not any(tensor.requires_grad for tensor in tensors) and not watched(*written_by)
