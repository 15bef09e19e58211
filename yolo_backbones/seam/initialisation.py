"""`initialize_weights` leaves published networks the settings that their weights were trained with."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from ultralytics.utils import torch_utils

from .wrapping import Function, wrap

_SETTINGS = ("eps", "momentum", "inplace")


def install() -> None:
    """Have `initialize_weights` spare published networks."""
    wrap(torch_utils, "initialize_weights", _sparing_networks)


def _sparing_networks(initialize_weights: Function) -> Function:
    """Keep BatchNorm's eps and momentum.

    And activations that are not in-place as they are: the tensor may be one of the maps, or be needed once more.
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
    """Return the whole networks in a model; none where no process has asked for one yet."""
    loaded = sys.modules.get("yolo_backbones.backbones.network")
    return [module for module in model.modules() if isinstance(module, loaded.Network)] if loaded else []
