"""Every network of timm as a backbone.

Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models; each network's paper stands in its
file there.
Differs from timm: nothing in the maps that a network has itself. The others come from `pyramid.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ...layers.fold import fold_batch_norms
from ...layers.merge import Mergeable, rewriting
from ...layers.pyramid import SimpleFeaturePyramid, source
from ...layers.tracing import tracing
from ..protocol import Features
from .building import create, create_with, with_stochastic_depth
from .maps import Map, maps
from .plan import ODD, Plan, plan
from .traceable import Traceable

# Ultralytics' default image size, for which a network that takes only one size is built where possible.
_IMGSZ = 640


class TimmFeatures(Features, Mergeable):
    """A timm network as a backbone: one map for each wanted stride.

    Of a network's own maps the last of a stride is taken, as it is. Strides that it lacks come from a
    `SimpleFeaturePyramid`. Layers that none of the maps depends on are left out.

    A stride that is no power of two serves as the nearest one: for stride 14 to serve as 16, the image is first scaled
    by 14/16, bilinearly. A network that takes only images of one size gets them scaled to it, `imgsz`, and its maps are
    scaled back.

    Shape:
        (B, channels, H, W), H and W multiples of 32 -> [(B, c, H / s, W / s) for c, s in zip(channels, strides)]

    Args:
        name: a timm architecture, without the tag of its weights.
        strides: the wanted ones, powers of two; "last": only the network's last map, of any stride, for a
            classifier.
        channels: of the image.
        state: the weights of the whole classification network in timm's naming, adapted to `channels`. Position
            embeddings are resized as timm does it, or bicubically where it does not.
        drop_path: stochastic depth's rate at the last block, timm's `drop_path_rate`; None for timm's default.

    Attributes:
        strides: of the returned maps.
        channels: of the returned maps.
        imgsz: the size that the network runs at inside, if it takes no other.
        own_strides: of the network's own maps, one map a stride.
        own_channels: of the network's own maps.
        missing: the network's parameters that `state` has nothing for, or something of another shape.
        left_out: names in `state` that the maps have no use for, the classifier's for example.
        unknown: names in `state` that the network does not have, or has in another shape.

    Raises:
        ValueError: timm has no such architecture, or none that runs here.
        ValueError: timm does not know the names in `state`, or the network has no stochastic depth.
    """

    def __init__(
        self,
        name: str,
        strides: Sequence[int] | Literal["last"] = (8, 16, 32),
        channels: int = 3,
        state: Mapping[str, torch.Tensor] | None = None,
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        own = maps(name)
        self.name = name
        self.own_strides = tuple(map.pixels for map in own)
        self.own_channels = tuple(map.channels for map in own)
        self.c1 = channels
        self.merged = False
        last = strides == "last"
        if strides == "last":
            taken: tuple[Map, ...] = own[-1:]
            strides = (own[-1].stride,)
        else:
            needed = {source([map.stride for map in own], stride) for stride in strides}
            taken = tuple(map for map in own if map.stride in needed)
        # A classifier's image is about as large as those its weights were trained on.
        found = plan(name, tuple(map.index for map in taken), None if last else _IMGSZ)
        if drop_path is not None:
            found = replace(found, options=with_stochastic_depth(name, found.options, drop_path))
        self.imgsz, self.least = found.imgsz, found.least
        self.patch = taken[0].pixels, taken[0].stride
        self.refit = not (found.exact or last)
        self.taken = tuple(map.stride for map in taken)
        self.features, self.missing, self.left_out, self.unknown = _load(name, taken, channels, found, state)
        self.pyramid = SimpleFeaturePyramid(self.taken, [map.channels for map in taken], strides)
        self.strides = tuple(strides)
        self.channels = self.pyramid.channels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Run the network, and make the maps that it lacks."""
        height, width = x.shape[-2:]
        x = self.fit(x)
        found = self._traced(x) if tracing() else self.features(x)
        if self.refit:
            found = [_resize(map, height // s, width // s) for map, s in zip(found, self.taken)]
        return self.pyramid(found)

    @rewriting
    def merge(self) -> None:
        """Merge parallel branches as timm does (RepVGG, FastViT, ...), and BatchNorm into convolutions."""
        if self.merged:
            return
        from timm.utils import reparameterize_model

        weight = next(self.features.parameters())
        dtype, device = weight.dtype, weight.device
        self.features.float()  # timm's merged layers are not all built in the network's precision, or on its device
        reparameterize_model(self.features, inplace=True)
        self.features.to(device)
        fold_batch_norms(self.features, self.fit(torch.empty(1, self.c1, *ODD, device="meta")))
        self.features.to(dtype).train(self.training)
        self.merged = True

    def fit(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the image to a size that the network takes."""
        height, width = x.shape[-2:]
        pixels, stride = self.patch
        if self.imgsz is not None:
            return _resize(x, self.imgsz, self.imgsz)
        if pixels != stride:
            return _resize(x, height * pixels // stride, width * pixels // stride)
        if self.least is not None and not tracing() and min(height, width) < self.least:
            return _resize(x, max(height, self.least), max(width, self.least))
        return x

    @property
    def weighted(self) -> nn.Module:
        """The network without the layers that make further maps."""
        return self.features

    def entry(self, image: torch.Tensor) -> tuple[nn.Module, torch.Tensor]:
        """Return the network and the resized image; normalisation and resizing commute."""
        return self.features, self.fit(image)

    def _traced(self, x: torch.Tensor) -> list[torch.Tensor]:
        with warnings.catch_warnings(), Traceable():
            # Sizes become constants, which is intended.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            return self.features(x)


def _resize(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, (height, width), mode="bilinear")


def _load(
    name: str, taken: Sequence[Map], channels: int, plan: Plan, state: Mapping[str, torch.Tensor] | None
) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Build the planned network with the weights in `state`; return also what is missing, unused and unknown."""
    indices = [map.index for map in taken]
    if state is None:
        net = create(name, indices, channels, **plan.options)
        missing: tuple[str, ...] = ()
        left_out: tuple[str, ...] = ()
        unknown: tuple[str, ...] = ()
    else:
        net, lost, left_out, unknown = create_with(state, name, indices, channels, plan.options)
        missing = tuple(key for key in lost if key not in plan.idle)
    _leave_out(net, plan)
    return net, missing, left_out, unknown


def _leave_out(net: nn.Module, plan: Plan) -> None:
    """Remove what no map depends on: in distributed training every parameter must receive a gradient."""
    for key in sorted(plan.uncalled):
        parent, _, name = key.rpartition(".")
        try:
            setattr(net.get_submodule(parent), name, nn.Identity())
        except AttributeError:  # removed with its parent
            continue
    for key, parameter in list(net.named_parameters()):
        if key in plan.idle:  # the forward pass still reads it, for example for a class token's last update
            parent, _, name = key.rpartition(".")
            delattr(net.get_submodule(parent), name)
            net.get_submodule(parent).register_buffer(name, parameter.detach())
