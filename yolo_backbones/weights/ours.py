"""Weights for our own networks: VanillaNet's from its authors' releases, any of them from a file.

Published weights of the others are timm's, see timm.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import fetch
from .read import Unusable, contents, state_dict
from .state import IMAGENET, State, Weights, fitted, for_channels

if TYPE_CHECKING:
    from ..blocks.network import Published

VANILLANET_RELEASES = "https://github.com/huawei-noah/VanillaNet/releases/download/ckpt"

# The parts of our networks behind the last stage, where a backbone ends.
BETWEEN = {"norm", "conv_head"}
CLASSIFIERS = {"head", "classifier"}


def part(key: str) -> str:
    """The part of one of our networks that a parameter belongs to: "stem", "stages", or one of those above."""
    return key.split(".")[0]


def published(name: str) -> Published | None:
    """One of our variants, if it is one."""
    from ..blocks import network  # it imports this package

    return network.published().get(name)


def released(name: str) -> bool:
    """Whether a name is one of VanillaNet's, whose authors' releases are the only published weights."""
    own = published(name)
    return own is not None and _is_vanillanet(own)


def _is_vanillanet(own: Published) -> bool:
    from ..blocks.vanillanet import VanillaNet  # as above

    return own.variant.network is VanillaNet


def from_release(name: str, tag: str, own: Published, channels: int) -> Weights:
    """VanillaNet's weights as its authors released them: a checkpoint of training, the average in it, not merged."""
    full, url = f"{name}.{tag}", f"{VANILLANET_RELEASES}/{name}.pth"
    path, found = fetch.from_url(full, url, f"{name}.pth")
    try:
        return _weights(own, state_dict(found), channels, url)
    except Unusable as error:
        raise fetch.discarded(full, path, url, error.reason) from None


def from_file(path: Path, own: Published, channels: int) -> Weights:
    """A file's tensors as weights of one of our networks.

    Raises:
        Unusable: it holds none, or another network's.
    """
    return _weights(own, state_dict(contents(path)), channels, str(path))


def _weights(own: Published, state: State, channels: int, origin: str) -> Weights:
    if _is_vanillanet(own) and {"stages.0.conv.weight", "stages.0.convs.conv1.weight"} & state.keys():
        raise Unusable(
            "holds a VanillaNet whose convolutions have been merged, which cannot be trained any further",
            "give the checkpoint from before merging (switch_to_deploy)",
        )
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in own.variant.build(channels=channels).state_dict().items()}
    naming, renamed = "authors" if _is_vanillanet(own) else "timm", {key: own.own_name(key) for key in state}
    if sum(key in shapes for key in state) >= sum(key in shapes for key in renamed.values()):
        naming, renamed = "own", {key: key for key in state}
    first = next(key for key, shape in shapes.items() if len(shape) == 4)
    behind = {key for key in shapes if part(key) in BETWEEN | CLASSIFIERS}
    state = fitted(state, renamed, shapes, {first}, behind, channels)
    classifier = tuple(key for key in state if part(renamed[key]) in CLASSIFIERS)
    return Weights(state, naming, classifier, *for_channels(IMAGENET, channels), origin)
