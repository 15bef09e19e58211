"""Torch-Pruning is told which blocks of ours remove their channels themselves, and gets no split that it loses.

https://github.com/VainF/Torch-Pruning. It follows channels through the graph that autograd notes, and takes customized
pruners where that fails. So the user's script needs to know nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..layers.prunable import Divisible, Prunable, followed
from .late import when_imported
from .wrapping import Function, wrap

PACKAGE = "torch_pruning"


def install() -> None:
    """Have the pruners registered, now or when the package is imported."""
    when_imported(PACKAGE, _teach)


def _teach() -> None:
    wrap(sys.modules[PACKAGE].DependencyGraph, "build_dependency", _wrap_build_dependency)


def _wrap_build_dependency(build_dependency: Function) -> Function:
    def build(graph: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        for module in list(model.modules()):
            if isinstance(module, Divisible):
                module.divide()
        prunable = [module for module in model.modules() if isinstance(module, Prunable)]
        for kind in dict.fromkeys(map(type, prunable)):
            graph.register_customized_layer(kind, Pruner())  # the user's own pruners come later, and replace it
        with _as_one_operation(prunable), followed():
            return build_dependency(graph, model, *args, **kwargs)

    return build


@contextmanager
def _as_one_operation(modules: list[Prunable]) -> Iterator[None]:
    """Have the modules hand on what they get, so that only they stand in the graph, and not what is inside."""
    for module in modules:
        module.forward = torch.clone
    try:
        yield
    finally:
        for module in modules:
            del module.forward


class Pruner:
    """Removes channels from a `Prunable`, by the methods of Torch-Pruning's `BasePruningFunc`.

    It is not derived from that class, which is there only once the package has been imported.
    """

    pruning_dim = 1

    def prune_out_channels(self, layer: Prunable, idxs: Sequence[int]) -> Prunable:
        """Remove channels by their numbers, in and out."""
        removed = set(idxs)
        layer.keep([i for i in range(layer.width) if i not in removed])
        return layer

    prune_in_channels = prune_out_channels  # equal: Torch-Pruning follows the channels through the block

    def get_out_channels(self, layer: Prunable) -> int:
        """Return the channels in and out."""
        return layer.width

    get_in_channels = get_out_channels

    def get_channel_groups(self, layer: Prunable) -> int:
        """Return 1: each channel may be removed by itself."""
        return 1

    get_in_channel_groups = get_out_channel_groups = get_channel_groups
