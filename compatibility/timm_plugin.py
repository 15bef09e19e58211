"""A pytest plugin for timm's own tests: it registers our published networks with timm, as `ours_starnet_s1`."""

from __future__ import annotations

import sys
from typing import Any

import timm.models
from torch import nn

from yolo_backbones.families import Variant, families

PREFIX = "ours_"
# What timm's tests ask of a network's settings.
default_cfgs: dict[str, dict[str, Any]] = {}


def _register(name: str, variant: Variant) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        given = {key: kwargs[key] for key in ("num_classes",) if key in kwargs}
        network = variant.build(**given)
        network.default_cfg = network.pretrained_cfg = default_cfgs[build.__name__]
        network.num_classes = given.get("num_classes", 1000)
        return network

    build.__name__ = build.__qualname__ = f"{PREFIX}{name}"
    default_cfgs[build.__name__] = {"input_size": (3, 224, 224), "num_classes": 1000, "url": "", "architecture": name}
    setattr(sys.modules[__name__], build.__name__, build)
    timm.models.register_model(build)


for family in families().values():
    for name, variant in family.variants.items():
        _register(name, variant)
