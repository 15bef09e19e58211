"""Where pretrained weights come from, and what was loaded.

| weights of                    | come from                              | are kept in                        |
|-------------------------------|----------------------------------------|------------------------------------|
| timm's networks, most of ours | the Hugging Face hub, a few from a url | the hub's cache, torch.hub's cache |
| VanillaNet                    | its authors' releases                  | torch.hub's cache                  |
| a file                        | .safetensors, .pth, .pt, .bin, .npz    | where it lies                      |

What is in a cache is used without a look at the network. What is not is fetched, read, and kept only if it can be
used: a download that broke off, a login page in place of a file or another network's weights never stay.

This file holds what others call. ours.py and timm.py get the weights of either's networks; fetch.py downloads, read.py
reads, and state.py says whether what was read fits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn
from ultralytics.utils import LOGGER

from .. import configs
from ..blocks.timm import has as in_timm
from . import ours, timm
from .guard import refuse_while_loading
from .read import SUFFIXES, Unusable
from .state import IMAGENET, Normalisation, State, Weights, for_channels, some

__all__ = ["CLASSIFIER", "FOREIGN", "IMAGENET", "UNUSED", "Weights", "apply", "load", "normalisation", "report", "tags"]

# Why a tensor is left out; these two are no surprise, any other reason makes the report a warning.
CLASSIFIER = "the classifier"
UNUSED = "behind the last map used"
FOREIGN = "not part of the network"
_EXPECTED = {CLASSIFIER, UNUSED}


# ---- what there is ----


def tags(name: str) -> list[str]:
    """The tags of a network's published weights, the default first; none for a network without or of another name."""
    return ["in1k"] if ours.released(name) else list(timm.published(name))


def normalisation(name: str, tag: str | None, channels: int) -> Normalisation:
    """Mean and standard deviation, one a channel, of the images (0..1) that a network's weights expect.

    Args:
        name: one of our variants, or one of timm's networks.
        tag: of the weights; None for the default ones, or, where none are published, what timm would train with.
        channels: of the image. One channel gets the mean of red, green and blue; more than three repeat these, as the
            first convolution's weights are repeated.

    Raises:
        ValueError: no such tag.
    """
    if tag is not None:
        _check_tag(name, tag)
    return for_channels(IMAGENET if ours.published(name) else timm.normalisation(name, tag), channels)


def _check_tag(name: str, tag: str) -> None:
    known = tags(name)
    if tag in known:
        return
    if not known:
        raise ValueError(
            f"{name}.{tag}: no weights are published for {name}; use the name without the tag, or give a file, "
            "weights=path"
        )
    near = " or ".join(f"{name}.{other}" for other in configs.nearest(tag, known))
    raise ValueError(
        f"{name}.{tag}: no weights have that tag; {f'did you mean {near}?' if near else f'{name} has {some(known)}'}"
    )


# ---- getting them ----


def load(name: str, source: str | Path, channels: int = 3) -> Weights:
    """Gets a network's weights, from a cache, from where they are published, or from a file.

    Args:
        name: one of our variants, or one of timm's networks.
        source: a tag, see `tags`, or a file's path.
        channels: of the image; the first convolution's weights are adapted to it as timm does.

    Raises:
        ValueError: no such network or tag, or what was found cannot be used for it.
        FileNotFoundError: no such file.
        ConnectionError: they have to be fetched, and cannot be.
    """
    refuse_while_loading(f"the weights {source}")
    own = ours.published(name)
    if own is None and not in_timm(name):
        raise ValueError(f"{name}: there is no backbone of that name to load weights for; see `yolo-backbones list`")
    if _is_path(source):
        path = Path(source).expanduser()
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{name}: the weights file {path} {what}; check the path, or use a tag in the name")
        try:
            return ours.from_file(path, own, channels) if own else timm.from_file(name, path, channels)
        except Unusable as error:
            way_out = error.way_out or f"give the weights of {name}"
            raise ValueError(f"{name}: {path} {error.reason}; {way_out}") from None
    tag = str(source)
    _check_tag(name, tag)
    if own and ours.released(name):
        return ours.from_release(name, tag, own, channels)
    return timm.from_tag(name, tag, channels)


def _is_path(source: str | Path) -> bool:
    """Whether a source is a file's path, not a tag."""
    if isinstance(source, Path):
        return True
    return Path(source).suffix in SUFFIXES or source.startswith("~") or "/" in source or os.sep in source


# ---- into the network ----


def apply(network: nn.Module, weights: Weights, rename: Callable[[str], str] | None, name: str) -> None:
    """Loads weights into one of our networks, and reports what was loaded.

    Args:
        network: with or without its classifier.
        weights: from `load`.
        rename: our name of a parameter, as `own_name` of the network's file; None if the names are ours. Weights that
            have our names already are not renamed.
        name: the network's.

    Raises:
        ValueError: nothing fits.
    """
    target = network.state_dict()
    fitting: State = {}
    left_out = {}
    for key, value in weights.state.items():
        own = key if rename is None or weights.naming == "own" else rename(key)
        if own in target and target[own].shape == value.shape:
            fitting[own] = value
        elif key in weights.classifier:
            left_out[key] = CLASSIFIER
        elif ours.part(own) in ours.BETWEEN and own not in target:
            left_out[key] = UNUSED
        else:
            left_out[key] = "of another shape" if own in target else FOREIGN
    network.load_state_dict(fitting, strict=False)
    # Integers may be missing: BatchNorm's counters change nothing, and VanillaNet's slope is known without them.
    missing = [
        key
        for key, value in target.items()
        if key not in fitting and ours.part(key) not in ours.CLASSIFIERS and value.is_floating_point()
    ]
    report(weights, len(fitting), missing, left_out, name)


def report(weights: Weights, loaded: int, missing: Sequence[str], left_out: Mapping[str, str], name: str) -> None:
    """Logs in one line what was loaded: a warning where it is less than one would expect.

    Args:
        weights: from `load`.
        loaded: how many of its tensors are in the network now.
        missing: the network's parameters that got none.
        left_out: the tensors that did not get into the network, each with the reason; `CLASSIFIER` and `UNUSED` are
            no surprise.
        name: the network's.

    Raises:
        ValueError: nothing was loaded.
    """
    if not loaded:
        raise ValueError(
            f"{name}: none of the {len(weights.state)} tensors from {weights.origin} fits ({some(weights.state)}); "
            f"give the weights of {name}"
        )
    parts = [f"yolo_backbones: {name}: {loaded} of {len(weights.state)} tensors from {weights.origin}"]
    for reason in dict.fromkeys(left_out.values()):
        parts.append(f"left out: {some([key for key, why in left_out.items() if why == reason])} ({reason})")
    if missing:
        parts.append(f"left as initialised, since there are none for them: {some(missing)}")
    log = LOGGER.warning if missing or set(left_out.values()) - _EXPECTED else LOGGER.info
    log("; ".join(parts))
