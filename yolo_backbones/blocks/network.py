"""A whole published network as the backbone: one of ours, any of timm's, or a chain of rows."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from ultralytics.nn import modules as layers

from .. import catalogue, registry, weights
from ..registry import Variant, register
from .fold import fold_normalisation
from .merge import Mergeable
from .timm import TimmFeatures
from .timm import has as in_timm

_PROBE = 256  # pixels; a multiple of every stride


class Published(NamedTuple):
    """One of our variants, and what its file calls the parameters of its reference."""

    variant: Variant
    own_name: Callable[[str], str]


@functools.cache
def published() -> dict[str, Published]:
    """The variants of all families, by name: whatever a file beside this one lists as `VARIANTS`."""
    found = {}
    for file in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        module = importlib.import_module(file.name)
        for name, variant in getattr(module, "VARIANTS", {}).items():
            found[name] = Published(variant, module.own_name)
    return found


class OwnFeatures(nn.Module):
    """One of our published networks without its classifier.

    Shape:
        (B, c, H, W) -> one (B, channels[i], H / strides[i], W / strides[i]) for each stride

    Args:
        name: a variant's name.
        strides: the maps wanted, or "last" for the last one, whatever its stride.
        channels: channels of the image.

    Attributes:
        strides: of the maps.
        channels: of the maps.

    Raises:
        ValueError: the network has no map at one of the strides.
    """

    def __init__(self, name: str, strides: Sequence[int] | Literal["last"], channels: int = 3) -> None:
        super().__init__()
        found = maps(name)
        if strides == "last":
            self.taps = [len(found.strides) - 1]
        else:
            missing = [stride for stride in strides if stride not in found.strides]
            if missing:
                have = sorted({s for s in found.strides if s})
                reason = f"its maps have strides {have}" if have else "it pools every image to one fixed size"
                raise ValueError(
                    f"{name} has no map at stride {missing[0]}, which this base needs: {reason}; "
                    f"{'choose another backbone or base' if have else 'it serves classification (-cls) alone'}"
                )
            # The last map of each stride: the one that has seen most.
            self.taps = [len(found.strides) - 1 - found.strides[::-1].index(stride) for stride in strides]
        self.strides = tuple(found.strides[i] or 0 for i in self.taps)
        self.channels = tuple(found.channels[i] for i in self.taps)
        net: Any = published()[name].variant.build(channels=channels)
        net.drop_classifier()
        self.net = net

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Runs the network."""
        found = self.net.forward_features(x)
        return [found[i] for i in self.taps]


class _Maps(NamedTuple):
    strides: tuple[int | None, ...]
    channels: tuple[int, ...]


@functools.cache
def maps(name: str) -> _Maps:
    """Strides and channels of all maps of one of our variants; None where a map's size is fixed or does not divide."""
    with torch.device("meta"), torch.no_grad():
        network: Any = published()[name].variant.build().eval()
        found = network.forward_features(torch.empty(1, 3, _PROBE, _PROBE))
    sizes = [x.shape[-1] for x in found]
    return _Maps(
        tuple(_PROBE // size if _PROBE % size == 0 else None for size in sizes), tuple(x.shape[1] for x in found)
    )


class Chain(nn.Module):
    """Rows of blocks, one behind the other, in a single row of a YAML.

    For detectors that have fewer rows than a family's stages need.

    Args:
        c1: channels of the image.
        rows: [repeats, block, args] each, nothing of it scaled.
        taps: the rows whose maps are handed on, rising.

    Raises:
        ValueError: a block is unknown.
    """

    def __init__(self, c1: int, rows: Sequence[Sequence[Any]], taps: Sequence[int]) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.channels: tuple[int, ...] = ()
        stages = []
        for i, (n, name, args) in enumerate(rows):
            stages.append(_chained(c1, n, name, list(args)))
            c1 = args[0]
            if i in self.taps:
                self.channels += (c1,)
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Runs the rows."""
        found = [x := stage(x) for stage in self.stages]
        return [found[i] for i in self.taps]


def _chained(c1: int, n: int, name: str, args: list[Any]) -> nn.Module:
    block = registry.blocks().get(name)
    if block is None:
        layer = vars(layers).get(name)
        if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
            raise ValueError(
                f"Network: its rows name a block {name}, which is unknown: neither registered "
                "(`yolo_backbones.register`) nor a layer of Ultralytics'"
            )
        return nn.Sequential(*(layer(args[0] if i else c1, *args) for i in range(n)))
    if block.like == "C2f":
        return block.build(c1, args[0], n, *args[1:])
    return nn.Sequential(*(block.build(args[0] if i else c1, *args) for i in range(n)))


@register(like="HGStem")
class Network(Mergeable):
    """A whole published network: image in, maps out, finest first. A `FeatureMap` row takes each of them on.

    The image is normalised as the network's weights were trained to have it; Ultralytics hands over RGB in 0..1.
    BatchNorm keeps the network's own eps, which Ultralytics would set to 1e-3 (see plugin.py).

    Shape:
        (B, c1, H, W) -> one (B, c2[i], H / strides[i], W / strides[i]) for each of `strides`

    YAML:
        - [-1, 1, Network, [starnet_s1, [48, 96, 192], {strides: [8, 16, 32], weights: in1k}]]  # [name, c2, options]

    Args:
        c1: channels of the image; Ultralytics fills it in.
        name: one of our variants, or any architecture of timm's; with `rows`, a name of your own.
        c2: channels of the maps.
        options: `strides` of the maps, or "last" for the last one alone, whatever its stride; `weights`, a tag of the
            published ones or the path of a file, else random; or, in place of these, `rows` and `taps` of a `Chain`.

    Raises:
        ValueError: no such network, map, option, or other channels than `c2` says.
        OSError: the weights cannot be had, see `yolo_backbones.weights`.
    """

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, c1: int, name: str, c2: Sequence[int], options: Mapping[str, Any]) -> None:
        super().__init__()
        _check(name, c2, options)
        self.name = name
        self.body, normalisation = _body(c1, name, options)
        for key, values in zip(("mean", "std"), normalisation or (None, None)):
            self.register_buffer(key, None if values is None else torch.tensor(values).view(1, -1, 1, 1))
        self.published = normalisation is not None
        if list(self.body.channels) != list(c2):
            raise ValueError(
                f"Network: the maps of {name} have {list(self.body.channels)} channels, and the YAML row gives "
                f"c2={list(c2)}; write what they have"
            )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Normalises the image and runs the network."""
        if self.mean is not None:
            x = x - self.mean
        if self.std is not None:
            x = x / self.std
        return self.body(x)

    def merge(self) -> None:
        """Moves as much of the image's normalisation as is exact into the first convolution."""
        if self.mean is not None and self.std is not None:
            image = self.mean.new_empty(1, self.mean.shape[1], _PROBE, _PROBE, device="meta")
            net: nn.Module = self.body
            if isinstance(self.body, TimmFeatures):  # behind resizing, which commutes with it
                net, image = self.body.features, self.body.fit(image)
            self.mean, self.std = fold_normalisation(net, self.mean, self.std, image)


def _check(name: Any, c2: Any, options: Any) -> None:
    if not isinstance(name, str):
        raise ValueError(f"Network: name={name!r} has to be a network's name, such as starnet_s1 or resnet18")
    if not isinstance(c2, Sequence) or isinstance(c2, str):
        raise ValueError(f"Network: c2={c2!r} has to be a list, the channels of each map")
    chain = isinstance(options, Mapping) and set(options) == {"rows", "taps"}
    whole = isinstance(options, Mapping) and {"strides"} <= set(options) <= {"strides", "weights"}
    if not chain and not whole:
        raise ValueError(
            f"Network: options={options!r} has to hold strides and perhaps weights, or rows and taps, as in "
            "{strides: [8, 16, 32], weights: in1k}"
        )
    if chain:
        return
    strides, source = options["strides"], options.get("weights")
    if strides != "last" and not (isinstance(strides, Sequence) and all(type(stride) is int for stride in strides)):
        raise ValueError(f"Network: strides={strides!r} has to be a list such as [8, 16, 32], or last")
    if source is not None and not (isinstance(source, str) and source):
        raise ValueError(f"Network: weights={source!r} has to be a tag, such as in1k, or the path of a file")
    plain, _, tag = name.partition(".")
    if tag:
        raise ValueError(f"Network: name={name!r} has a tag, which belongs into the options, as weights: {tag}")
    if plain not in published() and not in_timm(plain):
        raise ValueError(f"Network: {catalogue.unknown(plain)}")


def _body(
    c1: int, name: str, options: Mapping[str, Any]
) -> tuple[OwnFeatures | TimmFeatures | Chain, tuple[Sequence[float], ...] | None]:
    if "rows" in options:
        return Chain(c1, options["rows"], options["taps"]), None
    strides, source = options["strides"], options.get("weights")
    loaded = weights.load(name, source, c1) if source else None
    normalisation = (loaded.mean, loaded.std) if loaded else weights.normalisation(name, None, c1)
    if name not in published():
        return _timm_body(c1, name, strides, loaded), normalisation
    body = OwnFeatures(name, strides, c1)
    if loaded is not None:
        weights.apply(body.net, loaded, published()[name].own_name, name)
    return body, normalisation


def _timm_body(c1: int, name: str, strides: Any, loaded: weights.Weights | None) -> TimmFeatures:
    if loaded is None:
        return TimmFeatures(name, strides, c1)
    body = TimmFeatures(name, strides, c1, loaded.state)
    reasons = dict.fromkeys(body.left_out, weights.UNUSED) | dict.fromkeys(body.unknown, weights.FOREIGN)
    reasons |= {key: weights.CLASSIFIER for key in reasons if key in loaded.classifier}
    weights.report(loaded, len(loaded.state) - len(reasons), body.missing, reasons, name)
    return body


@register(like="HGStem")
class FeatureMap(nn.Module):
    """One of the maps that a `Network` row hands on.

    Shape:
        list of maps -> the map, (B, c2, H', W')

    YAML:
        - [0, 1, FeatureMap, [1, 96]]  # [index, c2]

    Args:
        c1: channels of the maps; Ultralytics fills it in.
        index: which map, from 0, the finest.
        c2: its channels.

    Raises:
        ValueError: there is no such map, or it has other channels.
    """

    def __init__(self, c1: Sequence[int], index: int, c2: int) -> None:
        super().__init__()
        if not isinstance(c1, Sequence) or type(index) is not int or not 0 <= index < len(c1) or c1[index] != c2:
            raise ValueError(
                f"FeatureMap: the YAML row asks for map {index} with c2={c2} channels, and the row it comes from gives "
                f"{c1}; its `from` has to be the Network row, and index and c2 one of that row's maps"
            )
        self.index = index

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Picks the map."""
        return x[self.index]
