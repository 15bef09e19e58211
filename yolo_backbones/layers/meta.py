"""Networks on torch's meta device, which has shapes and no values."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_FILLS = {"add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "sub_", "uniform_", "zero_"}


class Shapes(TorchFunctionMode):
    """Mode for building networks on the meta device: it skips filling tensors, which takes most of the time there.

    It skips only without gradients, as in initialisation. With gradients, an addition in place is part of the network.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _FILLS and args and args[0].is_meta and not torch.is_grad_enabled():
            return args[0]
        return func(*args, **(kwargs or {}))


def import_before(blocks: Iterable[str]) -> None:
    """Import what rows with these blocks import while they are built, before that is done on the meta device.

    torchvision and timm import torch's compiler, and torch 2.6 computes with tensors when it is imported.
    """
    if not {"Network", "TorchVision"}.isdisjoint(blocks):
        importlib.import_module("torchvision")


def leaves(outputs: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield the tensors that the outputs depend on and that collect gradients."""
    todo: list[Any] = [output.grad_fn for output in outputs]
    seen = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        todo += [following for following, _ in node.next_functions]
