"""Detectors that fit a teacher: the same task, classes and channels of the image."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import yaml_model_load

from ..layers.initialisation import at_full_size
from ..messages import first_line
from . import junction
from .adapters import inserted
from .junction import Model

# Of a teacher's config: what its head was built with.
_HEAD = ("kpt_shape", "reg_max", "end2end")


def load_teacher(path: str) -> Model:
    """Load a teacher.

    Raises:
        ValueError: it is no checkpoint, or of no detector.
        FileNotFoundError: it is not here, and cannot be downloaded.
    """
    if Path(path).suffix != ".pt":
        raise ValueError(f"the teacher {path} is no checkpoint; name a trained .pt, such as yolov8n.pt")
    model = _opened(path)
    if not hasattr(model, "model") or not hasattr(model.model[-1], "nl"):
        raise ValueError(f"the teacher {path} is no detector whose head reads maps; take one that detects, segments or "
                         "estimates poses")  # fmt: skip
    return model


def _opened(path: str) -> Model:
    try:
        return YOLO(path).model
    except OSError as error:
        if Path(path).exists():
            raise
        raise FileNotFoundError(
            f"there is no file {path}, and none of that name could be downloaded ({first_line(error)}); give the path "
            "of a trained checkpoint"
        ) from error


def like(teacher: Model, config: str | Path | Mapping[str, Any], verbose: bool = False) -> Model:
    """Build a detector from a config, with the head of a teacher; what is random in it is of torch's size."""
    found = deepcopy(dict(config)) if isinstance(config, Mapping) else yaml_model_load(config)
    found |= {key: teacher.yaml[key] for key in _HEAD if key in teacher.yaml}
    channels = teacher.yaml.get("channels", teacher.yaml.get("ch", 3))
    with at_full_size():
        return type(teacher)(found, ch=channels, nc=teacher.model[-1].nc, verbose=verbose)


def student_of(teacher: Model, source: str, adapters: bool) -> tuple[Model, junction.Junction]:
    """Build a student with its teacher's weights in every row that they share.

    Args:
        teacher: a detector.
        source: name or file of a config, or a checkpoint.
        adapters: a 1x1 convolution behind each map with another number of channels than the teacher's.

    Raises:
        ValueError: they do not fit; the message says where.
        FileNotFoundError: the checkpoint is not here, and cannot be downloaded.
    """
    weights: Model = _opened(source) if Path(source).suffix == ".pt" else None
    config = weights.yaml if weights is not None else yaml_model_load(source)
    student = like(teacher, config)
    where = junction.find(student, teacher)
    ours, theirs = _channels(student), _channels(teacher)
    other = {i: theirs[j] for i, j in where.maps if i in ours and j in theirs and ours[i] != theirs[j]}
    letters = [model.yaml.get("scale") or "" for model in (student, teacher)]
    if letters[0] != letters[1]:
        raise ValueError(
            f"{source} is of scale {letters[0] or 'none'}, its teacher of scale {letters[1] or 'none'}, and their "
            "necks have other widths; choose a student of the teacher's letter"
        )
    if other and not adapters:
        pairs = [(str(ours[i]), str(theirs[j])) for i, j in where.maps]
        mine, yours = (", ".join(channels) for channels in zip(*pairs))
        raise ValueError(
            f"{source} gives maps of {mine} channels to what it shares with the teacher, whose maps have {yours}; "
            "--adapters puts a 1x1 convolution behind each that differs, which stays in the model"
        )
    if other:
        student = like(teacher, inserted(student.yaml, other))
        where = junction.find(student, teacher)
    if weights is not None:
        student.load(weights)
    different = junction.differing(student, teacher, where)
    if different:
        raise ValueError(
            f"{source} and its teacher differ behind their backbones: {different[0]}; take the same detector"
        )
    junction.hand_over(student, teacher, where)
    student.names, student.task = teacher.names, teacher.task
    student.args = dict(teacher.args)
    return student, where


def _channels(model: Model) -> dict[int, int]:
    """Return the channels of each row that gives one map."""
    image = torch.zeros(1, model.yaml.get("channels", 3), 64, 64)
    training = model.training
    model.eval()
    with torch.no_grad():
        found = junction.outputs(model, image)
    model.train(training)
    return {i: x.shape[1] for i, x in enumerate(found) if isinstance(x, torch.Tensor)}
