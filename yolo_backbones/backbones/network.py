"""A whole network as a row of a model's YAML, and the rows that pick its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .. import families  # noqa: F401  # registers a chain's blocks
from ..layers.batch_norm import batch_norms, freeze_batch_norms
from ..layers.fold import fold_normalisation
from ..layers.merge import Mergeable, rewriting
from ..layers.tracing import exporting
from ..registry import register
from . import rows
from .chain import Chain
from .find import find
from .protocol import Features
from .rows import Chained, Whole

_PROBE = 256  # pixels; a multiple of every stride
_LATER = "_yolo_backbones_later_maps"  # attribute of a map that a `FeatureMap` picked


_SEVERAL = (
    "this row gives several maps, those of a whole network, where one is needed; take a FeatureMap row, which picks "
    "one (`yolo-backbones new` writes the model's rows with their numbers)"
)


class _Maps(list[torch.Tensor]):
    """Several maps. Where they are used as one, as `embed=[0]` or Grad-CAM on row 0 do, the answer is a sentence."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise ValueError(_SEVERAL)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_SEVERAL)  # as of any object without the attribute: `hasattr` goes on to say no


@register(like="HGStem")
class Network(Mergeable):
    """A whole network: image in, maps out, finest first. A `FeatureMap` row picks each of them.

    The image is normalised as the network's weights were trained to have it; Ultralytics hands over RGB in 0..1.
    BatchNorm keeps the network's own eps, which Ultralytics would set to 1e-3 (see `seam.initialisation`).

    On torch's meta device no weights are loaded.

    Shape:
        (B, c1, H, W) -> one (B, c2[i], H / strides[i], W / strides[i]) for each of `strides`

    YAML:
        - [-1, 1, Network, [starnet_s1, [48, 96, 192], {strides: [8, 16, 32], weights: in1k}]]  # [name, c2, options]

    Args:
        c1: channels of the image; Ultralytics fills it in.
        name: a published network of ours, or any architecture of timm's; with `rows`, a name of your own.
        c2: channels of the maps.
        options: `strides` of the maps, or "last" for only the last one, of any stride; `weights`, a tag of the
            published ones or the path of a file, else random; `width` and `depth`, multiples of its channels and of
            its blocks in each stage; `drop_path`, stochastic depth's rate at its last block; `frozen_bn`, true if
            its BatchNorms keep statistics, scale and shift; or, in place of these, `rows` and `taps` of a `Chain`.

    Attributes:
        published: true for a published network, which keeps the settings that its weights were trained with.
        detects: true if its strides are a detector's, which Ultralytics finds by a run.
        frozen_bn: true if its BatchNorms are frozen.

    Raises:
        ValueError: no such network, map, option, or other channels than `c2` says; or, in the forward pass, an image
            of other channels.
        OSError: the weights cannot be had, see `yolo_backbones.weights`.
    """

    repeatable = False
    frozen_bn = False  # of checkpoints from before there was the option

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, c1: int, name: str, c2: Sequence[int], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        layout = rows.read(name, c2, options)
        self.body, normalisation = _chain(c1, layout) if isinstance(layout, Chained) else _whole(c1, name, layout)
        for key, values in zip(("mean", "std"), normalisation or (None, None)):
            self.register_buffer(key, None if values is None else torch.tensor(values).view(1, -1, 1, 1))
        self.published = isinstance(layout, Whole)
        self.detects = isinstance(layout, Whole) and layout.strides != "last"
        if list(self.body.channels) != list(c2):
            raise ValueError(
                f"Network: the maps of {name} have {list(self.body.channels)} channels, and the YAML row gives "
                f"c2={list(c2)}; write what they have"
            )
        if isinstance(layout, Whole) and layout.frozen_bn:
            if not freeze_batch_norms(self.body.weighted):
                raise ValueError(f"Network: {name} has no BatchNorm that frozen_bn could freeze; leave frozen_bn out")
            self.frozen_bn = True
            self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode of all layers but frozen BatchNorms, which stay in evaluation mode."""
        super().train(mode)
        if self.frozen_bn:
            for norm in batch_norms(self.body.weighted):
                norm.eval()
        return self

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Normalise the image and run the network."""
        if self.mean is not None:
            # The subtraction would give a grey image three channels. In a trace, comparing sizes raises a warning.
            if not exporting() and x.shape[1] != self.mean.shape[1]:
                raise ValueError(
                    f"Network: {self.name} takes images of {self.mean.shape[1]} channels, and this tensor has shape "
                    f"{tuple(x.shape)}; convert the images, or build the model with `ch: {x.shape[1]}` in its YAML"
                )
            x = x - self.mean
        if self.std is not None:
            x = x / self.std
        maps = self.body(x)
        return maps if exporting() or torch.compiler.is_compiling() else _Maps(maps)

    @rewriting
    def merge(self) -> None:
        """Move the image's normalisation into the first convolution, as far as that is exact."""
        if self.mean is not None and self.std is not None:
            image = self.mean.new_empty(1, self.mean.shape[1], _PROBE, _PROBE, device="meta")
            net, image = self.body.entry(image)
            self.mean, self.std = fold_normalisation(net, self.mean, self.std, image)


def _chain(c1: int, layout: Chained) -> tuple[Features, None]:
    return Chain(c1, layout.rows, layout.taps), None


def _whole(c1: int, name: str, layout: Whole) -> tuple[Features, Any]:
    try:
        backbone = find(name)
        if (layout.width, layout.depth) != (1, 1):
            backbone = backbone.scaled(layout.width, layout.depth)
        if layout.args:
            backbone = backbone.with_arguments(layout.args)
        if layout.drop_path is not None:
            backbone = backbone.with_drop_path(layout.drop_path)
    except ValueError as error:
        raise ValueError(f"Network: {error}") from None
    source = None if torch.get_default_device().type == "meta" else layout.weights
    body = backbone.features(layout.strides, c1, source)
    return body, backbone.normalisation(source, c1)


@register(like="HGStem")
class FeatureMap(nn.Module):
    """One of the maps that a `Network` row returns.

    In the model each of these rows gets the list of maps. Scripts also call the rows one behind the other, such as
    `nn.Sequential(*model.model[:10])`; then, without gradients, a row gets the map that the one before picked, which
    refers to the maps after it in the list.

    Shape:
        list of maps, or an earlier one of them as this module returned it -> the map, (B, c2, H', W')

    YAML:
        - [0, 1, FeatureMap, [1, 96]]  # [index, c2]

    Args:
        c1: channels of the maps; Ultralytics fills it in.
        index: which map, from 0, the finest.
        c2: its channels.

    Raises:
        ValueError: there is no such map, or it has other channels; or, in the forward pass, a tensor that does not
            come from a row of this kind.
    """

    repeatable = False

    def __init__(self, c1: Sequence[int], index: int, c2: int) -> None:
        super().__init__()
        if not isinstance(c1, Sequence) or type(index) is not int or not 0 <= index < len(c1) or c1[index] != c2:
            raise ValueError(
                f"FeatureMap: the YAML row asks for map {index} with c2={c2} channels, and the row it comes from gives "
                f"{c1}; its `from` has to be the Network row, and index and c2 one of that row's maps"
            )
        self.index = index

    def forward(self, x: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Pick the map."""
        if isinstance(x, torch.Tensor):
            later = getattr(x, _LATER, {})
            if self.index not in later:
                raise ValueError(
                    f"FeatureMap: map {self.index} cannot be told from a tensor of shape {tuple(x.shape)}; call this "
                    "row on the list of maps that the Network row returns, or all rows in a row under torch.no_grad()"
                )
        else:
            later = dict(enumerate(x))
        picked: torch.Tensor = later[self.index]
        if not torch.compiler.is_compiling() and not picked.requires_grad:
            # Only later maps: with itself among them, a map would not be freed before Python looks for circles. And
            # none with a gradient: its graph holds the earlier maps, and that circle Python does not see at all.
            setattr(picked, _LATER, {i: map for i, map in later.items() if i > self.index})
        return picked
