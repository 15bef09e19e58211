"""A network of the user's own, registered like="Network"."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import registry
from ..layers.pyramid import SimpleFeaturePyramid
from ..layers.pyramid import source as nearest
from ..messages import FAULTS, first_line, shown
from ..weights.fit import apply, fitted
from ..weights.loaded import Weights
from ..weights.read import contents, state_dict
from .protocol import Features, Map, Strides, deepest
from .published import PublishedBackbone

_PROBE = 256  # pixels; a multiple of every stride


@dataclass(frozen=True)
class RegisteredBackbone(PublishedBackbone):
    """A registered network.

    It takes images as they are, in 0..1, and comes in the size that its arguments give.

    Args:
        name: of its class.
        args: behind the image's channels, as a YAML gives them; lists as tuples.
        block: its class as it is registered, which a notebook may replace by another of the same name.
    """

    takes_arguments = True

    block: registry.Block | None = None

    @property
    def _block(self) -> registry.Block:
        assert self.block is not None  # `find` made sure
        return self.block

    def maps(self) -> tuple[Map, ...]:
        """Implement `Backbone.maps`."""
        return _maps(self, 3)

    def tags(self) -> tuple[str, ...]:
        """Return no tags: nobody but its author has weights."""
        return ()

    def with_arguments(self, args: Sequence[Any]) -> RegisteredBackbone:
        """Return it with other arguments of its class.

        Raises:
            TypeError: too few or too many.
            ValueError: one is neither a number, a text nor a list of such.
        """
        self._block.check_row(list(args))
        return replace(self, args=_hashable(self.name, args))

    def with_drop_path(self, rate: float) -> RegisteredBackbone:
        """Refuse; see `Backbone.with_drop_path`."""
        raise ValueError(f"{self.name}: drop_path={rate} is not for networks of your own; give it as their argument")

    def trained_with(self, tag: str | None) -> None:
        """Return None: it takes the image as it is."""

    def features(self, strides: Strides, channels: int, source: str | None) -> Features:
        """Implement `Backbone.features`."""
        weights = self.load(source, channels) if source else None
        body = RegisteredFeatures(self, strides, channels)
        if weights is not None:
            apply(body.net, weights, None, self.name, (), ())
        return body

    def from_tag(self, tag: str, channels: int) -> Weights:
        """Refuse; no tag is known to be one."""
        raise ValueError(f"{self.name} is a network of your own, of which no weights are published")

    def from_file(self, path: Path, channels: int) -> Weights:
        """Implement `PublishedBackbone.from_file`."""
        state = state_dict(contents(path))
        shapes = {key: value.shape for key, value in self.build(channels).state_dict().items()}
        state = fitted(state, {key: key for key in state}, shapes, (), (), channels)
        as_it_is = (0.0,) * channels, (1.0,) * channels
        return Weights(state, "own", (), *as_it_is, str(path))

    def build(self, channels: int) -> nn.Module:
        """Build the network, with values also where only shapes are asked for: `.item()` is common in constructors.

        Raises:
            ValueError: its constructor fails.
        """
        device = torch.get_default_device()
        try:
            with torch.device("cpu"):
                net = self._block.build(channels, *self.args)
        except FAULTS as error:
            raise ValueError(f"{self}: it cannot be built ({first_line(error)})") from error
        return net.to("meta") if device.type == "meta" else net

    def __str__(self) -> str:
        return f"{self.name}, {shown(list(self.args))}"


class RegisteredFeatures(Features):
    """A registered network as a backbone: one map for each wanted stride.

    Of its own maps the last of a stride is taken. Strides that it lacks come from a `SimpleFeaturePyramid`.

    Shape:
        (B, c, H, W) -> one (B, channels[i], H / strides[i], W / strides[i]) for each stride

    Args:
        backbone: the network.
        strides: the maps wanted, powers of two, or "last" for the last one, of any stride.
        channels: channels of the image.

    Attributes:
        channels: of the maps.

    Raises:
        ValueError: it cannot be built or run, or what it returns are no maps.
    """

    def __init__(self, backbone: RegisteredBackbone, strides: Strides, channels: int) -> None:
        super().__init__()
        own = _maps(backbone, channels)
        if strides == "last":
            self.taps = [len(own) - 1]
            self.pyramid: nn.Module = nn.Identity()
            self.channels = (own[-1].channels,)
        else:
            places = deepest(own)
            needed = sorted({nearest(list(places), stride) for stride in strides})
            self.taps = [places[stride] for stride in needed]
            pyramid = SimpleFeaturePyramid(needed, [own[i].channels for i in self.taps], strides)
            self.pyramid = pyramid
            self.channels = pyramid.channels
        self.net = backbone.build(channels)

    @property
    def weighted(self) -> nn.Module:
        """The network itself."""
        return self.net

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Run the network."""
        found = _as_list(self.net(x))
        maps: list[torch.Tensor] = self.pyramid([found[i] for i in self.taps])
        return maps


@functools.cache
def _maps(backbone: RegisteredBackbone, channels: int) -> tuple[Map, ...]:
    """Find stride and channels of every map by a run."""
    with torch.device("cpu"), torch.inference_mode():
        net = backbone.build(channels).eval()
        try:
            found = _as_list(net(torch.zeros(1, channels, _PROBE, _PROBE)))
        except FAULTS as error:
            raise ValueError(
                f"{backbone}: it fails on an image of {channels}x{_PROBE}x{_PROBE} ({first_line(error)}); it has to "
                "take any size that is a multiple of 32"
            ) from error
    if not found or not all(isinstance(x, torch.Tensor) and x.ndim == 4 for x in found):
        returned = ", ".join(
            "x".join(map(str, x.shape)) if isinstance(x, torch.Tensor) else type(x).__name__ for x in found
        )
        raise ValueError(
            f"{backbone}: its forward returns {returned or 'nothing'}, and has to return maps of (B, c, H, W), finest "
            "first; leave out its classifier"
        )
    strides = [_stride(x) for x in found]
    if not any(strides):
        sizes = ", ".join("x".join(map(str, x.shape[2:])) for x in found)
        raise ValueError(
            f"{backbone}: of an image of {_PROBE}x{_PROBE} it makes maps of {sizes}; a detector needs one whose size "
            "is the image's, halved some times"
        )
    return tuple(Map(stride, x.shape[1]) for stride, x in zip(strides, found))


def _stride(x: torch.Tensor) -> int | None:
    height, width = x.shape[2:]
    stride = _PROBE // height if height and height == width and _PROBE % height == 0 else 0
    return stride if stride and stride & (stride - 1) == 0 else None


def _as_list(found: Any) -> list[Any]:
    """Return what networks in use return as a list: a list or tuple of maps, a mapping of them, or one map."""
    if isinstance(found, dict):
        return list(found.values())
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _hashable(name: str, args: Any) -> Any:
    if isinstance(args, (list, tuple)):
        return tuple(_hashable(name, arg) for arg in args)
    if args is None or isinstance(args, (bool, int, float, str)):
        return args
    raise ValueError(f"{name}: {shown(args)} has to be a number, a text or a list of such")


def find(name: str) -> RegisteredBackbone | None:
    """Find the registered network of that name; None if there is none."""
    block = registry.blocks().get(name)
    return RegisteredBackbone(name, block=block) if block is not None and block.contract.whole else None


def find_in_any_case(name: str) -> RegisteredBackbone | None:
    """Find the one registered network whose name differs by capitals alone; None if there is none, or several."""
    found = [block.name for block in registry.blocks().values() if block.name.lower() == name.lower()]
    return find(found[0]) if len(found) == 1 else None
