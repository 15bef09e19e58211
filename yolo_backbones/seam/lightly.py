"""LightlyTrain is told what the backbone of a model of ours is, so that it can pretrain it without labels.

https://github.com/lightly-ai/lightly-train. Its adapter looks for a layer of one of Ultralytics' types in front of SPPF
or of the head. It is imported before or after Ultralytics, or in most processes never; so it is waited for.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from . import row_errors
from .late import when_imported
from .wrapping import Function, wrap

ADAPTER = "lightly_train._models.ultralytics.ultralytics"
_PROBE = 64  # pixels


def install() -> None:
    """Teach the adapter, now or when it is imported."""
    when_imported(ADAPTER, _teach)


def _teach() -> None:
    wrap(sys.modules[ADAPTER], "_get_backbone", _wrap_get_backbone)


def _wrap_get_backbone(get_backbone: Function) -> Function:
    def get(model: Any) -> tuple[nn.Module, int]:
        network = model.model
        if not row_errors.has_ours(getattr(network, "yaml", None)):
            return get_backbone(model)
        return backbone(network)

    return get


class Rows(nn.Sequential):
    """A model's first rows, each with the input that its `from` names.

    Shape:
        (B, c, H, W) -> the last row's map
    """

    def forward(self, x: torch.Tensor) -> Any:
        """Run the rows, and return the last one's output."""
        from ..detectors import outputs  # here, since LightlyTrain is imported in few processes

        return outputs(self.children(), x)[-1]


def backbone(network: Any) -> tuple[Rows, int]:
    """Return the rows that LightlyTrain trains, and the channels of the last one's map.

    They are the backbone's, without an SPPF at their end, as it takes those of Ultralytics. A family that changes in
    the course of a training is kept as it is, since no epoch of Ultralytics' comes before the next training.
    """
    from ..families import families  # here, since a model of ours has been built

    for family in families().values():
        if family.training is not None:
            family.training.keep(network)
    rows = network.yaml["backbone"]
    found = Rows(*network.model[: len(rows) - (rows[-1][2] == "SPPF")])
    was_training = found.training
    first = next(network.parameters())
    channels = network.yaml.get("channels", network.yaml.get("ch", 3))
    with torch.no_grad():
        image = torch.zeros(1, channels, _PROBE, _PROBE, device=first.device, dtype=first.dtype)
        width = int(found.eval()(image).shape[1])
    found.train(was_training)
    return found, width
