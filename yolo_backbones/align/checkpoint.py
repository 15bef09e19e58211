"""Checkpoints of an alignment: ordinary ones of Ultralytics."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO, __version__

from ..leftovers import replacing
from . import junction, scale
from .junction import Model

# Of what a checkpoint was trained with, what Ultralytics goes by where it is used. The rest is the alignment's own.
_KEPT = ("task", "imgsz", "data", "single_cls")


def write(model: Model, file: Path) -> None:
    """Write a model as a checkpoint, whole or not at all."""
    model = deepcopy(model).half()
    arguments: dict[str, Any] = model.args if isinstance(model.args, dict) else vars(model.args)
    for parameter in model.parameters():
        parameter.requires_grad = False
    content = {
        "epoch": -1, "best_fitness": None, "model": model, "ema": None, "updates": None, "optimizer": None,
        "train_args": {name: arguments[name] for name in _KEPT if arguments.get(name) is not None},
        "date": datetime.now().astimezone().isoformat(), "version": __version__,
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        torch.save(content, part)


def finish(last: Path, file: Path, teacher: Model) -> None:
    """Write what an alignment ended with, with the task and the data of its teacher, ready to learn."""
    model: Model = YOLO(last).model
    scale.shrink(model, junction.find(model, teacher).student_maps)
    model.task = teacher.task
    model.args = {**teacher.args, "task": teacher.task}
    model.criterion = None
    write(model, file)
