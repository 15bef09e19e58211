"""LightlyTrain is told what the backbone of a model of ours is, so that it can pretrain it without labels.

https://github.com/lightly-ai/lightly-train. Its adapter looks for a layer of one of Ultralytics' types in front of SPPF
or of the head. It is imported before or after Ultralytics, or in most processes never; so it is waited for.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .. import import_hooks
from . import row_errors
from .wrapping import Function, wrap

ADAPTER = "lightly_train._models.ultralytics.ultralytics"
_PROBE = 64  # pixels


def install() -> None:
    """Teach the adapter, now or when it is imported."""
    if ADAPTER in sys.modules:
        _teach()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the adapter by the finders behind it, once, and has it taught after it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != ADAPTER:
            return None
        spec: importlib.machinery.ModuleSpec | None = None
        for finder in [other for other in sys.meta_path if other is not self]:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                break
        if spec is not None and spec.loader is not None:
            import_hooks.call_after(spec.loader, name, _teach)
        return spec


def _teach() -> None:
    adapter = sys.modules[ADAPTER]
    if hasattr(adapter, "_get_backbone"):  # else a release of it that does this in another way
        wrap(adapter, "_get_backbone", _wrap_get_backbone)


def _wrap_get_backbone(get_backbone: Function) -> Function:
    def get(model: Any) -> tuple[nn.Module, int]:
        network = model.model
        if not row_errors.has_ours(getattr(network, "yaml", None)):
            return get_backbone(model)
        return backbone(network)

    return get


def backbone(network: Any) -> tuple[nn.Sequential, int]:
    """Return the rows that LightlyTrain trains, and the channels of the last one's map.

    They are the backbone's, without an SPPF at their end, as it takes those of Ultralytics. A family that changes in
    the course of a training is kept as it is, since no epoch of Ultralytics' comes before the next training.
    """
    from ..families import families  # here, since a model of ours has been built

    for family in families().values():
        if family.training is not None:
            family.training.keep(network)
    rows = network.yaml["backbone"]
    rows = rows[: len(rows) - (rows[-1][2] == "SPPF")]
    found: nn.Sequential = network.model[: len(rows)]
    was_training = found.training
    first = next(found.parameters())
    channels = network.yaml.get("channels", network.yaml.get("ch", 3))
    with torch.no_grad():
        image = torch.zeros(1, channels, _PROBE, _PROBE, device=first.device, dtype=first.dtype)
        width = int(found.eval()(image).shape[1])
    found.train(was_training)
    return found, width
