"""Weights in front of BatchNorm: their size changes nothing of what a network gives, and all of how fast it learns.

BatchNorm divides by the deviation of what it gets, so a convolution in front of it may be multiplied by any number. A
step of AdamW is as large as the rate, whatever the weight, and one of SGD is the smaller the larger the weight: twice
the weights turn half as far, or a quarter. In an alignment they grow, and would be slow in the training behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..layers.initialisation import SHARE, relative_size
from . import junction

_SIDE = 256  # of the image that Ultralytics too finds a detector's strides with


@dataclass(frozen=True)
class Normalised:
    """A convolution's parameters, and the BatchNorm that alone reads what it gives."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    norm: Any  # timm's has an activation in it, and is no subclass of torch's


def normalised(model: junction.Model, rows: Sequence[int]) -> list[Normalised]:
    """Find what stands in front of a BatchNorm, in all that the maps of these rows are made of.

    Read off the graph that a gradient would take, so it makes no difference how a block is written. Nothing is found
    of parameters that need no gradient.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()  # no statistics are changed, and BatchNorm is a single operation over any number of processes
    try:
        with torch.enable_grad():
            image = torch.zeros(1, model.yaml.get("channels", 3), _SIDE, _SIDE, device=device)
            ends = [x.grad_fn for x in junction.maps(model, image, rows) if x.grad_fn]
    finally:
        model.train(training)
    nodes, readers = _graph(ends)
    norms = {
        module.weight: module
        for module in model.modules()
        if getattr(module, "running_var", None) is not None and module.weight is not None
    }
    found = []
    for node in nodes:
        if "BatchNormBackward" not in node.name():
            continue
        made_by, scale, *_ = (child for child, _ in node.next_functions)
        if made_by is None or "ConvolutionBackward" not in made_by.name():
            continue
        _, kernel, bias = (child for child, _ in made_by.next_functions)
        # A map that something else reads as well, or a layer that is called again, has a size that counts.
        alone = all(readers[part] == 1 for part in (made_by, scale, kernel) if part is not None)
        if alone and _parameter(kernel) is not None and _parameter(scale) in norms:
            found.append(Normalised(_parameter(kernel), _parameter(bias), norms[_parameter(scale)]))
    return found


@torch.no_grad()
def shrink(model: junction.Model, rows: Sequence[int], share: float = SHARE) -> None:
    """Give the weights in front of a BatchNorm a size at which they learn fast. What the model gives stays the same.

    Args:
        model: a detector.
        rows: it does this to what the maps of these rows are made of.
        share: of the size with which torch begins.
    """
    for parameter in model.parameters():
        parameter.requires_grad = True
    for found in normalised(model, rows):
        weight, norm = found.weight, found.norm
        factor = share / relative_size(weight)
        if not factor.isfinite():  # it is all zeros
            continue
        before = norm.running_var + norm.eps
        for value in (weight, found.bias, norm.running_mean):
            if value is not None:
                value.mul_(factor)
        norm.running_var.mul_(factor.square())
        # `eps` does not become smaller with the variance.
        norm.weight.mul_(((norm.running_var + norm.eps) / before).sqrt() / factor)


def _graph(ends: Sequence[Any]) -> tuple[list[Any], Counter[Any]]:
    """List the operations that these come from, and count what reads each."""
    readers = Counter(ends)
    nodes = list(readers)
    for node in nodes:  # which grows
        children = [child for child, _ in node.next_functions if child is not None]
        nodes += [child for child in dict.fromkeys(children) if child not in readers]
        readers.update(children)
    return nodes, readers


def _parameter(node: Any) -> Any:
    """Return what a gradient of this leaf of the graph is of; None for anything else."""
    return getattr(node, "variable", None)
