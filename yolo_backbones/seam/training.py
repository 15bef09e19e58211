"""Families' training hooks, as callbacks of every trainer, in each of its processes."""

from __future__ import annotations

import sys
from typing import Any

from ultralytics.utils import callbacks

from .checkpoints import configs_of

_EVENTS = ("on_train_start", "on_train_epoch_start", "on_train_epoch_end")


def install() -> None:
    """Have every trainer call the families' hooks."""
    for event in _EVENTS:
        listed = callbacks.default_callbacks[event]
        if not any(isinstance(other, _Callback) for other in listed):
            listed.insert(0, _Callback(event))  # `YOLO.reset_callbacks()` keeps the first alone


class _Callback:
    """Passes one of Ultralytics' events on to each family that wants it."""

    def __init__(self, event: str) -> None:
        self.event = event

    def __call__(self, trainer: Any) -> None:
        loaded = sys.modules.get("yolo_backbones.families")
        if loaded is None:  # no model of ours in this process
            return
        config = next(configs_of(trainer.model), {})
        for family in loaded.families().values():
            if family.training is not None:
                getattr(family.training, self.event)(trainer, config)
