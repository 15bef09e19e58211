"""Plans to build timm's networks for images of any size, or of one size; found by trying."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...layers.meta import Shapes, leaves
from .building import create, create_with
from .maps import Map, maps

# A network that runs on this rectangle, whose sides no window or block size divides, runs on all multiples of 32.
ODD = (11 * 32, 19 * 32)


@dataclass(frozen=True)
class Plan:
    """Options and sizes with which a network takes images.

    Attributes:
        options: of timm's `create_model`.
        imgsz: the one size it takes; None if it takes any.
        exact: true if the maps have the size that their strides promise.
        least: the smallest side it takes, where it pads too little for any; None if it takes any.
        idle: parameters that the maps do not depend on.
        uncalled: modules with only such parameters that are not even called.
    """

    options: Mapping[str, Any]
    imgsz: int | None
    exact: bool
    least: int | None
    idle: frozenset[str]
    uncalled: frozenset[str]


@functools.cache
@torch.inference_mode(False)
def plan(name: str, indices: tuple[int, ...], imgsz: int | None) -> Plan:
    """Find a way to build a network so that it takes images, by trying on the meta device.

    Inference mode is left for it: what the maps depend on is read from autograd's graph.

    Args:
        name: the architecture.
        indices: of the maps.
        imgsz: the wanted size, if the network takes only one; None for that of the published weights.

    Raises:
        ValueError: no way was found.
    """
    taken = [map for map in maps(name) if map.index in indices]
    refused = "nothing"
    built: dict[str, nn.Module] = {}
    for options, size in _attempts(name, taken[0].scale, imgsz):
        try:
            key = repr(options)
            if key not in built:
                with torch.device("meta"), Shapes():
                    lost: list[str] = []
                    if "img_size" in options:
                        net, lost, _, _ = create_with(_example_state(name), name, indices, 3, options)
                    else:
                        net = create(name, indices, 3, **options)
                    built = {key: net.eval()}
            net = built[key]
            sides = (size, size) if size else tuple(round(side * taken[0].scale) for side in ODD)
            exact, idle, uncalled = _check_maps(net, taken, sides, near=size not in {None, _trained_size(name)})
            if set(lost) - idle:
                raise ValueError(f"weights of another size do not fit: {min(set(lost) - idle)}")
            exact = exact and size is None
            return Plan(options, size, exact, None if exact or size else _smallest_side(net), idle, uncalled)
        except Exception as error:  # an option, size or weights that do not fit: networks raise different errors
            refused = f"{type(error).__name__}: {error}"
    raise ValueError(f"{name}: runs at no size that was tried; the last answer was {refused}")


def _attempts(name: str, scale: float, imgsz: int | None) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Yield options to build a network with, and the size to try it at; None stands for any."""
    yield {"dynamic_img_size": True}, None
    yield {}, None
    yield {"global_pool": ""}, None  # Gemma's pooling, left out here, takes only multiples of 48
    native = _trained_size(name)
    if imgsz is not None:
        step = round(32 * scale)
        grid = _by_distance(imgsz, range(step, 2 * imgsz, step))
        multiples = _by_distance(imgsz, range(native, 2 * imgsz, native))  # two matching grids, as CrossViT's
        for size in _by_distance(imgsz, {*grid[:3], *multiples[:2]}):
            yield {"img_size": size}, size
        for size in _by_distance(imgsz, {*grid[:9], *multiples}):
            yield {}, size
    yield {}, native


def _trained_size(name: str) -> int:
    """Return the size of the images that the published weights were trained on."""
    import timm

    return timm.get_pretrained_cfg(name).input_size[-1]


def _by_distance(size: int, sizes: Iterable[int]) -> list[int]:
    """Sort the sizes by their distance from `size`, the smaller of two first."""
    return sorted(sizes, key=lambda other: (abs(other - size), other))


def _example_state(name: str) -> dict[str, torch.Tensor]:
    """Return random weights in the shapes of the published ones."""
    import timm

    return timm.create_model(name).state_dict()


def _smallest_side(net: nn.Module) -> int | None:
    """Find the smallest side of an image that a network runs on; None if it is 32."""
    for side in range(32, 2 * min(ODD), 32):
        try:
            with torch.no_grad():
                net(torch.empty(1, 3, side, side, device="meta"))
        except RuntimeError:  # a kernel larger than its map
            continue
        break
    return side if side > 32 else None


def _check_maps(
    net: nn.Module, taken: Sequence[Map], size: tuple[int, ...], near: bool
) -> tuple[bool, frozenset[str], frozenset[str]]:
    """Run the network at `size`; return `exact`, `idle` and `uncalled` of its `Plan`.

    Args:
        net: the network, on the meta device.
        taken: its maps.
        size: height and width.
        near: true if a map's side may be off by one pixel at most; else by half a power of two, as in networks that
            do not pad.

    Raises:
        ValueError: a map has another size, or other channels.
    """
    called: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda module, _: called.add(module)) for m in net.modules()]
    try:
        with torch.enable_grad():
            found = net(torch.empty(1, 3, *size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    exact = True
    for got, map in zip(found, taken, strict=True):
        pairs = [(n, side / map.pixels) for n, side in zip(got.shape[2:], size)]
        fits = all(abs(n - wanted) <= 1 if near else abs(math.log2(n / wanted)) < 0.5 for n, wanted in pairs)
        if got.shape[1] != map.channels or not fits:
            raise ValueError(f"a map of {tuple(got.shape)} where timm says {map.channels} at stride {map.pixels}")
        exact = exact and all(n == wanted for n, wanted in pairs)
    used = set(leaves(found))
    idle = frozenset(key for key, parameter in net.named_parameters() if parameter not in used)
    uncalled = set()
    for key, module in net.named_modules():
        own = {f"{key}.{name}" for name, _ in module.named_parameters()}
        if own and own <= idle and not called.intersection(module.modules()):
            uncalled.add(key)
    return exact, idle, frozenset(uncalled)
