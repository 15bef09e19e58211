"""Callbacks of every trainer, in each of its processes: fine-tuning, and what families do during a training."""

from __future__ import annotations

import sys
from typing import Any

from ultralytics.utils import callbacks

from . import fine_tuning
from .checkpoints import configs_of

_EVENTS = ("on_train_start", "on_train_epoch_start", "on_train_epoch_end")


def install() -> None:
    """Have every trainer call the hooks."""
    for event in _EVENTS:
        listed = callbacks.default_callbacks[event]
        if not any(isinstance(other, _Callback) for other in listed):
            listed.insert(0, _Callback(event))  # `YOLO.reset_callbacks()` keeps the first alone


class _Callback:
    """Passes one of Ultralytics' events on to fine-tuning, and to each family that wants it."""

    def __init__(self, event: str) -> None:
        self.event = event

    def __call__(self, trainer: Any) -> None:
        config = next(configs_of(trainer.model), {})
        hook = getattr(fine_tuning, self.event, None)
        if hook is not None:
            hook(trainer, config)
        loaded = sys.modules.get("yolo_backbones.families")
        if loaded is None:  # no model of ours in this process
            return
        for family in loaded.families().values():
            if family.training is not None:
                getattr(family.training, self.event)(trainer, config)
