"""Folding of BatchNorm, and of the image's normalisation, into the convolutions next to them.

These are found by running a copy of the network once on torch's meta device, which computes no values. Each operation
is recorded with the tensors that it reads. So the names and types of other layers do not matter.
"""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .merge import rewriting, scale_and_shift

Convolution = nn.Conv2d | nn.ConvTranspose2d


class _Call(NamedTuple):
    operation: Any
    args: tuple[Any, ...]
    read: list[torch.Tensor]
    written: list[torch.Tensor]


class _Calls(TorchDispatchMode):
    """Record of the operations that run inside its `with` block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorded: list[_Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.recorded.append(_Call(func.overloadpacket, args, _tensors((args, kwargs)), _tensors(result)))
        return result


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


class Entry(NamedTuple):
    """The convolution that is the only reader of a network's input.

    Attributes:
        name: name of the module.
        padded: True if zeros are put around its input.
    """

    name: str
    padded: bool


class Graph:
    """The operations of a network in evaluation mode.

    Args:
        net: the network, which stays as it is.
        image: tensor of its input's shape, on any device.
    """

    def __init__(self, net: nn.Module, image: torch.Tensor) -> None:
        tensors = itertools.chain(net.parameters(), net.buffers())
        twin = copy.deepcopy(net, {id(tensor): _on_meta(tensor) for tensor in tensors}).eval()
        self._image = torch.empty_like(image, device="meta")
        with _Calls() as calls:
            returned = twin(self._image)
        # An id is valid as long as its tensor lives, and the calls keep the tensors alive.
        self._calls = calls.recorded
        self._returned = {id(tensor) for tensor in _tensors(returned)}
        self._readers: dict[int, list[_Call]] = defaultdict(list)
        self._writer: dict[int, _Call] = {}
        for call in self._calls:
            for tensor in call.read:
                self._readers[id(tensor)].append(call)
            for tensor in call.written:
                self._writer[id(tensor)] = call
        self._modules = dict(twin.named_modules())
        self._convolutions = {
            id(module.weight): name
            for name, module in self._modules.items()
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        }

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the names of each convolution and the BatchNorm that is the only reader of its output."""
        from timm.layers import BatchNormAct2d  # here, since it takes long to import

        for name, module in self._modules.items():
            if type(module) not in {nn.BatchNorm2d, BatchNormAct2d} or not module.affine or module.running_mean is None:
                continue
            call = self._sole_reader(module.running_mean)
            source = self._writer.get(id(call.read[0])) if call else None
            conv = self._convolution(source) if source else None
            if call and conv and self._sole_reader(call.read[0]) is call:
                yield conv, name

    def entry(self) -> Entry | None:
        """Return the only reader of the image if it is a convolution, with or without zero padding; None otherwise."""
        x, padded = self._image, False
        while (call := self._sole_reader(x)) is not None:
            if call.operation is torch.ops.aten.constant_pad_nd and not any(call.args[2:]):
                padded = padded or any(side > 0 for side in call.args[1])
            else:
                name = self._convolution(call)
                _, _, _, _, padding, _, transposed, _, groups = call.args if name else (None,) * 9
                return Entry(name, padded or any(padding)) if name and not transposed and groups == 1 else None
            x = call.written[0]
        return None

    def _sole_reader(self, tensor: torch.Tensor) -> _Call | None:
        readers = self._readers[id(tensor)]
        return readers[0] if len(readers) == 1 and id(tensor) not in self._returned else None

    def _convolution(self, call: _Call) -> str | None:
        """Return the name of the call's convolution; None if it is none, or its weight or bias is used elsewhere."""
        if call.operation is not torch.ops.aten.convolution:
            return None
        name = self._convolutions.get(id(call.args[1]))
        if name is None or call.args[2] is not self._modules[name].bias:
            return None
        return name if all(len(self._readers[id(tensor)]) == 1 for tensor in call.read[1:]) else None


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


@rewriting
def fold_batch_norms(net: nn.Module, image: torch.Tensor) -> None:
    """Fold each BatchNorm that is the only reader of a convolution's output into that convolution.

    Args:
        net: the network, changed in place.
        image: tensor of its input's shape.
    """
    for conv_name, norm_name in list(Graph(net, image).pairs()):
        conv: Any = net.get_submodule(conv_name)
        norm: Any = net.get_submodule(norm_name)
        scale, shift = scale_and_shift(norm)
        if isinstance(conv, nn.ConvTranspose2d):  # (in, out / groups, k, k), groups along the first dimension
            weight = conv.weight.unflatten(0, (conv.groups, -1)) * scale.view(conv.groups, 1, -1, 1, 1)
            weight = weight.flatten(0, 1)
        else:
            weight = conv.weight * scale.view(-1, 1, 1, 1)
        set_weights(conv, weight, shift if conv.bias is None else conv.bias * scale + shift)
        parent, _, name = norm_name.rpartition(".")
        setattr(net.get_submodule(parent), name, _without_batch_norm(norm))


def _without_batch_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """Return the rest of a normalising layer: timm's may also have a dropout and an activation."""
    left = [module for module in norm.children() if not isinstance(module, nn.Identity)]
    return nn.Identity() if not left else left[0] if len(left) == 1 else nn.Sequential(*left)


@rewriting
def fold_normalisation(
    net: nn.Module, mean: torch.Tensor, std: torch.Tensor, image: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Fold `(x - mean) / std` into the only reader of `net`'s input, a convolution; return the mean and std left.

    Zeros around a normalised image are the mean before it. So with padding, the subtraction of the mean stays.

    Args:
        net: the network, changed in place.
        mean: mean of each channel, (1, c, 1, 1).
        std: standard deviation of each channel, (1, c, 1, 1).
        image: tensor of its input's shape.
    """
    entry = Graph(net, image).entry()
    if entry is None:
        return mean, std
    conv: Any = net.get_submodule(entry.name)
    weight = conv.weight / std
    if entry.padded:
        set_weights(conv, weight, conv.bias)
        return mean, None
    offset = (weight * mean).sum((1, 2, 3))
    set_weights(conv, weight, -offset if conv.bias is None else conv.bias - offset)
    return None, None


def set_weights(conv: Convolution, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Replace a convolution's weight and bias, without gradients, as Ultralytics' `fuse()` does."""
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = None if bias is None else nn.Parameter(bias.to(conv.weight), requires_grad=False)
