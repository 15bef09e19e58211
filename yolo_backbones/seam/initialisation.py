"""Published networks keep the settings that their weights were trained with, also in `initialize_weights`."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from ultralytics.utils import torch_utils

from .wrapping import Function, wrap

_SETTINGS = ("eps", "momentum", "inplace")


def install() -> None:
    """Have `initialize_weights` keep published networks' settings."""
    wrap(torch_utils, "initialize_weights", _wrap_initialize_weights)


def _wrap_initialize_weights(initialize_weights: Function) -> Function:
    """Keep BatchNorm's eps and momentum, and each activation's `inplace`.

    An activation made in-place could overwrite one of the maps, or a tensor that is read again.
    """

    def initialize(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        networks = _networks(model)
        inner = [module for network in networks if network.published for module in network.modules()]
        kept = [
            (module, name, getattr(module, name)) for module in inner for name in _SETTINGS if hasattr(module, name)
        ]
        result = initialize_weights(model, *args, **kwargs)
        for module, name, value in kept:
            setattr(module, name, value)
        for network in networks:
            network.train(model.training)  # `block_rows` built it for evaluation
        return result

    return initialize


def _networks(model: nn.Module) -> list[Any]:
    """List the whole networks in a model; none where this process has not imported `Network`."""
    loaded = sys.modules.get("yolo_backbones.backbones.network")
    return [module for module in model.modules() if isinstance(module, loaded.Network)] if loaded else []
