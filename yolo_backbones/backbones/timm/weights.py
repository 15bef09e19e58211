"""Weights that timm loads: of its own networks, and of those of ours that it has as well."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER

from ...weights import fetch
from ...weights.fit import fitted
from ...weights.library_log import captured
from ...weights.loaded import Normalisation, Weights, for_channels
from ...weights.read import contents, state_dict
from .building import loading
from .maps import has

# timm takes seconds to import, so only the functions that need it do.


def published(name: str) -> dict[str, Any]:
    """Return timm's entry for each tag of a network's published weights, the default first."""
    from timm.models import get_arch_pretrained_cfgs

    found = get_arch_pretrained_cfgs(name) if has(name) else {}
    tagged = {full.partition(".")[2]: cfg for full, cfg in found.items() if cfg is not None and cfg.has_weights}
    return {tag: cfg for tag, cfg in tagged.items() if tag}


def normalisation(name: str, tag: str | None) -> Normalisation:
    """Return mean and standard deviation of the images that weights expect; no tag stands for the default one."""
    cfg = _pretrained_cfg(f"{name}.{tag}" if tag else name)
    return cfg.mean, cfg.std


def _pretrained_cfg(name: str) -> Any:
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return get_pretrained_cfg(name) or PretrainedCfg()


def from_tag(name: str, in_timm: str, tag: str, channels: int) -> Weights:
    """Have timm load its whole classification network, strictly, from a file that is known to be in order.

    Args:
        name: what messages call the network.
        in_timm: what timm calls it.
        tag: of the weights.
        channels: of the image.
    """
    full = f"{name}.{tag}"
    cfg = published(in_timm)[tag]
    if cfg.hf_hub_id:
        origin = f"{cfg.hf_hub_id} (Hugging Face hub)"
        fetched = fetch.from_hub(full, cfg.hf_hub_id)
        custom = False  # the hub's files hold timm's own names, whatever cfg says
    else:
        origin, file = _url_and_file(cfg.url)
        fetched = fetch.from_url(full, origin, file)
        custom = cfg.custom_load
    overlay = {"file": str(fetched.path), "custom_load": custom}
    try:
        with captured("timm") as said:
            network = _create_network(f"{in_timm}.{tag}", channels, pretrained=True, pretrained_cfg_overlay=overlay)
    except (MemoryError, OSError):
        raise
    except Exception:  # its filters for foreign names may raise any error
        _create_network(in_timm, channels)  # fails too if the file is not the cause; then the file stays
        raise fetched.refusal("is the state dict of another network") from None
    for record in said:  # for example a first convolution that could not be adapted to the channels
        LOGGER.warning(f"yolo_backbones: {full}: {record.getMessage()}")
    return _weights(network.state_dict(), cfg, channels, origin)


def from_file(name: str, path: Path, channels: int) -> Weights:
    """Read a file's tensors as weights of one of timm's networks.

    timm's own loading is tried first: it knows other projects' names for many networks, and resizes position
    embeddings. The tensors of a file that holds too little for it are returned as they are.

    Raises:
        Unusable: it holds none, or another network's.
    """
    cfg, state = _pretrained_cfg(name), state_dict(contents(path))
    if all("/" in key for key in state):  # JAX's names, as in Google's own files for ViTs
        overlay: dict[str, Any] = {"file": str(path), "custom_load": True}
    else:
        overlay = {"state_dict": state, "custom_load": False, "label_offset": 0}
    heads = [state[f"{head}.weight"] for head in _as_names(cfg.classifier) if f"{head}.weight" in state]
    for n in [len(heads[0])] if heads else [cfg.num_classes, 0]:
        try:
            with captured("timm"):
                network = _create_network(
                    name, channels, pretrained=True, pretrained_cfg_overlay={**overlay, "num_classes": n}, num_classes=n
                )
        except Exception as error:  # the comparison below finds out why
            LOGGER.debug(f"yolo_backbones: {name}: timm cannot load {path} with {n} classes: {error}")
        else:
            return _weights(network.state_dict(), cfg, channels, str(path))
    shapes = {key: value.shape for key, value in _create_network(name, channels).state_dict().items()}
    first = {f"{conv}.weight" for conv in _as_names(cfg.first_conv)}
    state = fitted(state, {key: key for key in state}, shapes, first, _classifier_keys(cfg, state), channels)
    return _weights(state, cfg, channels, str(path))


def _create_network(name: str, channels: int, **options: Any) -> nn.Module:
    """Create one of timm's classification networks."""
    import timm

    if channels != 3:  # not all of timm's networks know the argument
        options["in_chans"] = channels
    with loading, torch.random.fork_rng(devices=[]):  # later layers start as they would without weights
        return timm.create_model(name, **options)


def _weights(state: dict[str, torch.Tensor], cfg: Any, channels: int, origin: str) -> Weights:
    mean, std = for_channels((cfg.mean, cfg.std), channels)
    return Weights(state, "timm", _classifier_keys(cfg, state), mean, std, origin)


def _classifier_keys(cfg: Any, state: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in state if key.startswith(tuple(f"{name}." for name in _as_names(cfg.classifier))))


def _as_names(entry: str | Sequence[str] | None) -> Sequence[str]:
    return (entry,) if isinstance(entry, str) else entry or ()


def _url_and_file(url: str | Sequence[str]) -> tuple[str, str]:
    """Return an address, and the name its file gets in torch.hub's cache, as torch and timm choose it."""
    if isinstance(url, str):
        return url, Path(urllib.parse.urlsplit(url).path).name
    return url[0], url[1]
