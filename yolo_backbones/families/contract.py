"""The contract of a family's file: one `FAMILY`, which tells the rest of the package about its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn


@dataclass(frozen=True)
class Variant:
    """A published network of a family: how it is assembled, and what its authors report.

    Attributes:
        network: the class that assembles it, see `PublishedNetwork`.
        config: that class's arguments.
        parameters: of the 1000-class network, in training form.
        gmacs: multiply-accumulates at 224 px, in units of 1e9; of the merged network where there is one.
        top1: ImageNet-1k top-1 accuracy in percent; None where none is published.
        merged: parameters after merging, where merging removes any beyond BatchNorm.
    """

    network: Callable[..., nn.Module]
    config: Mapping[str, Any]
    parameters: int
    gmacs: float | None = None
    top1: float | None = None
    merged: int | None = None

    def build(self, **overrides: Any) -> Any:
        """Assemble the network, randomly initialised."""
        return self.network(**{**self.config, **overrides})


class PublishedNetwork(Protocol):
    """Methods of a variant's network, beside those of an nn.Module that classifies."""

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the maps of all stages, finest first: (B, channels, H, W) -> (B, c, H / stride, W / stride) each."""

    def drop_classifier(self) -> None:
        """Remove what stands behind the last map."""


@dataclass(frozen=True)
class Release:
    """The authors' weights, for networks that timm does not have.

    Attributes:
        page: the address a person reads.
        urls: the file's address, by the variant's name. The file in the cache gets the last part of it as its name.
        tag: what a model's name calls these weights.
        licence: of the weights, as their authors name it.
    """

    page: str
    urls: Mapping[str, str]
    tag: str = "in1k"
    licence: str = ""


@dataclass(frozen=True)
class Oracle:
    """Outputs of the authors' own code, for the tests: how a family that timm does not have is held to its paper.

    Attributes:
        file: an archive of arrays in the folder `oracles` of the tests' data: the parameters as `state/{their name}`,
            an `input`, and the maps.
        network: builds the network that gave them.
        features: the maps' names, with `{}` for their number, from the first number that is there.
    """

    file: str
    network: Callable[[], nn.Module]
    features: str = "feature{}"


class TrainingHook(Protocol):
    """Actions of a family in the course of a training, in each process of it.

    Every method gets the YAML that the model was built from.
    """

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse options of the model's YAML that cannot be.

        Raises:
            ValueError: one cannot; the message names it, its value and the rule.
        """

    def on_train_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Follow Ultralytics' callback of that name."""

    def on_train_epoch_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Follow Ultralytics' callback of that name."""

    def on_train_epoch_end(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Follow Ultralytics' callback of that name."""


@dataclass(frozen=True)
class Family:
    """All that is known of a paper's networks outside of its file.

    Attributes:
        name: its config is `cfg/yolov8-{name}.yaml`.
        title: the name as its authors write it.
        summary: what is special about its blocks, in a few words, for tables.
        variants: the published networks by name.
        own_name: our name of a parameter, from the publisher's.
        naming: whose names `own_name` translates: "timm" or "authors".
        same_in_timm: timm's names of variants that have others there.
        licence: of the weights that timm has, as their publisher names it.
        classifier: the parts of a network that only classify, by the first word of their parameters' names.
        unused: the parts between the last map and the classifier.
        merged: names of parameters that a network has only once it is merged, and cannot be trained any further.
        release: where the authors' weights are, if timm has none.
        oracle: outputs of the authors' code, if timm does not have the networks.
        training: what it does in the course of a training, if anything.
        operators: ONNX operators that its graph needs and stock YOLOv8's has not; a runtime has to have them.
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
