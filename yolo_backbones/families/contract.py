"""The contract of a family's file: one `FAMILY`, which tells the rest of the package about its paper."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn
from ultralytics.utils.ops import make_divisible


@dataclass(frozen=True)
class Variant:
    """A published network of a family: its class and arguments, and its authors' figures.

    Attributes:
        network: class that builds it, see `PublishedNetwork`.
        config: arguments of that class.
        parameters: number of parameters of the 1000-class network, before merging.
        gmacs: multiply-accumulates at 224 px, in units of 1e9; of the merged network where there is one.
        top1: ImageNet-1k top-1 accuracy in percent; None where none is published.
        merged: number of parameters after merging; None where merging removes only BatchNorm.
    """

    network: Callable[..., nn.Module]
    config: Mapping[str, Any]
    parameters: int
    gmacs: float | None = None
    top1: float | None = None
    merged: int | None = None

    def argument(self, name: str) -> Any:
        """Return an argument of its class, perhaps the class's default."""
        return self.config[name] if name in self.config else inspect.signature(self.network).parameters[name].default

    def with_drop_path(self, rate: float) -> Variant:
        """Return it with another rate of stochastic depth at its last block.

        Raises:
            ValueError: its class has no `drop_path`.
        """
        if "drop_path" not in inspect.signature(self.network).parameters:
            raise ValueError("its blocks have no stochastic depth")
        return replace(self, config={**self.config, "drop_path": rate})

    def build(self, **overrides: Any) -> Any:
        """Build the network, randomly initialised."""
        return self.network(**{**self.config, **overrides})


class PublishedNetwork(Protocol):
    """Methods of a variant's network, in addition to those of an nn.Module that classifies."""

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the maps of all stages, finest first: (B, channels, H, W) -> (B, c, H / stride, W / stride) each."""

    def drop_classifier(self) -> None:
        """Remove the layers after the last map."""


@dataclass(frozen=True)
class Release:
    """The authors' weights, for networks that timm does not have.

    Attributes:
        page: address of the page that describes them.
        urls: address of each file, by the variant's name. Its last part is the file's name in the cache.
        tag: name of these weights in a model's name.
        licence: licence of the weights, as their authors name it.
    """

    page: str
    urls: Mapping[str, str]
    tag: str = "in1k"
    licence: str = ""


@dataclass(frozen=True)
class Oracle:
    """Outputs of the authors' own code. The tests compare a family with them if timm does not have it.

    Attributes:
        file: archive of arrays in the folder `oracles` of the tests' data: the parameters as `state/{their name}`,
            an `input`, and the maps.
        network: function that builds the network of these outputs.
        features: names of the maps, with `{}` for their number. The first number is the lowest in the archive.
    """

    file: str
    network: Callable[[], nn.Module]
    features: str = "feature{}"


class TrainingHook(Protocol):
    """Actions of a family during training, in each process.

    Every method gets the YAML that the model was built from.
    """

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse invalid options of the model's YAML.

        Raises:
            ValueError: an option is invalid; the message names it, its value and the rule.
        """

    def keep(self, model: nn.Module) -> None:
        """Have the next training go on from the blocks as they are, as behind a training that is not Ultralytics'."""

    def on_train_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Act on Ultralytics' callback of that name."""

    def on_train_epoch_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Act on Ultralytics' callback of that name."""

    def on_train_epoch_end(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Act on Ultralytics' callback of that name."""


@dataclass(frozen=True)
class ForeignRow:
    """A row as forks of Ultralytics write it for the authors' class, in this package's terms.

    Attributes:
        block: of this package.
        args: of its row; the first is the number of output channels.
        times: number of blocks for each repeat of the row. The detector's depth multiple does not change it.
        keeps_channels: true if the authors' class has as many output channels as its input.
    """

    block: str
    args: list[Any]
    times: int = 1
    keeps_channels: bool = False


@dataclass(frozen=True)
class Family:
    """The networks of a paper, as the rest of the package sees them.

    Attributes:
        name: its config is `cfg/yolov8-{name}.yaml`.
        title: name as its authors write it.
        summary: special feature of its blocks in a few words, for tables.
        variants: published networks by name.
        own_name: translation of a parameter's name, from the publisher's to this package's.
        naming: publisher whose names `own_name` translates: "timm" or "authors".
        same_in_timm: timm's names of variants, where they differ: `{"sknet_50": "skresnext50_32x4d"}`.
        licence: licence of timm's weights, as their publisher names it.
        classifier: parts of a network that only classify, by the first word of their parameters' names.
        unused: parts between the last map and the classifier, named likewise.
        merged: names of parameters that only a merged network has, which cannot be trained further.
        release: the authors' weights, if timm has none.
        oracle: outputs of the authors' code, if timm does not have the networks.
        training: actions during training, if any.
        operators: ONNX operators of its graph that stock YOLOv8's does not have; a runtime has to support them.
        widths: the argument of the variants' class that holds their channels.
        depths: the argument that holds their stages' blocks; empty where their number cannot be scaled.
        foreign_rows: readers of the rows that forks of Ultralytics have for the authors' classes, by class name. Each
            is called with the arguments of such a row, and raises ValueError where it has no equal here.
        also_called: block here whose part or equal public code calls so, by that name in lower case without
            underscores; for messages alone.
    """

    name: str
    title: str
    summary: str
    variants: Mapping[str, Variant]
    own_name: Callable[[str], str]
    naming: str = "timm"
    same_in_timm: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    classifier: frozenset[str] = frozenset({"head"})
    unused: frozenset[str] = frozenset()
    merged: frozenset[str] = frozenset()
    release: Release | None = None
    oracle: Oracle | None = None
    training: TrainingHook | None = None
    operators: frozenset[str] = frozenset()
    widths: str = ""
    depths: str = ""
    foreign_rows: Mapping[str, Callable[..., ForeignRow]] = field(default_factory=dict)
    also_called: Mapping[str, str] = field(default_factory=dict)

    def variant(self, name: str, width: float = 1.0, depth: float = 1.0) -> Variant:
        """Return a published network, or one of other widths and depths.

        Channels are rounded to multiples of 8 and blocks to whole numbers, as Ultralytics does with a detector's.

        Raises:
            ValueError: its depth cannot be scaled.
        """
        found = self.variants[name]
        if depth != 1 and not self.depths:
            raise ValueError(f"{name}: depth={depth} cannot be had, since {self.title} has one block a stage; write 1")
        scaled = {}
        if width != 1:
            scaled[self.widths] = _each(lambda c: make_divisible(c * width, 8), found.argument(self.widths))
        if depth != 1:
            scaled[self.depths] = _each(lambda n: max(round(n * depth), 1), found.argument(self.depths))
        return replace(found, config={**found.config, **scaled}) if scaled else found


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)
