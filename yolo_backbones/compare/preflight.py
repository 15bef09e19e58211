"""Checks before hours are spent: models, data, devices, arguments and the room on the disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import yaml_model_load

from ..bench.settings import MODEL_SUFFIXES
from ..messages import first_line
from .plan import Plan

OWNED = (
    "model", "data", "epochs", "seed", "device", "project", "name", "exist_ok", "resume", "mode", "task", "save",
    "save_dir", "cfg",
)  # fmt: skip

# What building a model raises where its YAML, its name or its file is wrong; parse_model checks little itself.
_NO_MODEL = (ValueError, OSError, ImportError, RuntimeError, TypeError, LookupError, AttributeError, EOFError)

# Bytes for each parameter: two checkpoints in half precision stay. While it trains, both have the optimizer's two
# figures as well, and the snapshot has all in full precision, with gradients, and the checkpoint once more.
_STAYS, _WHILE_TRAINING = 4, 50
_GB = 1e9


def check_arguments(arguments: dict[str, Any]) -> None:
    """Refuse arguments with which models would not be trained alike.

    Raises:
        ValueError: there is one.
    """
    for name in OWNED:
        if name in arguments:
            raise ValueError(f"{name}={arguments[name]}: a comparison sets {name} itself; leave it out")
    batch = arguments.get("batch", 16)
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch={batch} would give each model a batch of its own size; give a number of images")
    imgsz = arguments.get("imgsz", 640)
    if not isinstance(imgsz, int) or imgsz < 1:
        raise ValueError(f"imgsz={imgsz} is no size to train with; give one number, such as imgsz=320")
    if arguments.get("time"):
        raise ValueError("time= would give each model its own number of epochs; leave it out and give --epochs")
    if isinstance(arguments.get("pretrained"), str):
        _build(arguments["pretrained"])
    teacher = arguments.get("distill_model")
    if teacher is not None:
        if Path(str(teacher)).suffix != ".pt":
            raise ValueError(f"distill_model={teacher} is no teacher; give the checkpoint of a trained model")
        _build(teacher)


def models(sources: Sequence[str]) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
    """Build each model once.

    Args:
        sources: as `YOLO()` takes them.

    Returns:
        What the plan holds of each, their task, and the number of classes of each checkpoint by name.

    Raises:
        ValueError: one is no model, or their tasks differ.
    """
    found: list[dict[str, Any]] = []
    tasks: dict[str, str] = {}
    classes: dict[str, int] = {}
    for source in dict.fromkeys(sources):
        built = _build(source)
        name = _unique(Path(source).stem, [model["name"] for model in found])
        checkpoint = Path(source).suffix == ".pt"
        config = None if checkpoint else _config(source)
        text = Path(built.ckpt_path).read_bytes() if checkpoint else json.dumps(config, sort_keys=True).encode()
        parameters = sum(p.numel() for p in built.model.parameters())
        found.append({"name": name, "source": source, "config": config, "hash": _hash(text), "parameters": parameters})
        tasks.setdefault(built.task, source)
        if checkpoint:
            classes[name] = len(built.names)
    if len(tasks) > 1:
        listed = ", ".join(f"{source} is for {task}" for task, source in tasks.items())
        raise ValueError(f"models of several tasks cannot be compared: {listed}; take those of one task")
    return found, next(iter(tasks)), classes


def _build(source: str) -> Any:
    if Path(source).suffix not in MODEL_SUFFIXES:
        raise ValueError(f"{source} is neither a model's config nor a checkpoint; name a .yaml or a .pt")
    try:
        return YOLO(source)
    except _NO_MODEL as error:
        raise ValueError(f"{source} is no model that can be built: {first_line(error)}") from None


def _config(source: str) -> dict[str, Any]:
    config = {key: value for key, value in yaml_model_load(source).items() if key != "yaml_file"}
    return dict(json.loads(json.dumps(config, default=str)))  # as the plan's file will have it


def _unique(name: str, taken: Sequence[str]) -> str:
    """Return a name for folders that no other model of the comparison has."""
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 2)))
    return next(free for free in names if free not in taken)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def devices(asked: str, jobs: int | None, threads: int) -> list[tuple[str, int]]:
    """Return where runs go at once: for each a device, and its threads.

    Args:
        asked: `cpu`, numbers of GPUs as `0,1`, or "" for the first GPU, or the CPU where there is none.
        jobs: runs at once on the CPU, which share the threads; None for one.
        threads: of the CPU.

    Raises:
        ValueError: a device is not there, or jobs do not go with it.
    """
    count = torch.cuda.device_count()
    chosen = [part.strip() for part in (asked or ("0" if count else "cpu")).split(",")]
    if chosen == ["cpu"]:
        at_once = jobs or 1
        return [("cpu", max(1, threads // at_once))] * at_once
    for device in chosen:
        if not device.isdigit():
            raise ValueError(f"--devices {asked}: {device!r} is neither cpu nor the number of a GPU; write 0,1 or cpu")
        if int(device) >= count:
            raise ValueError(
                f"--devices {asked}: there is no GPU {device}, torch {torch.__version__} finds {count}; "
                f"take {'--devices cpu' if not count else 'numbers below ' + str(count)}"
            )
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--devices {asked}: a GPU is named twice; each trains one model at a time")
    if jobs is not None:
        raise ValueError("--jobs is for the CPU, and a GPU trains one model at a time; leave it out")
    return [(device, max(1, threads // len(chosen))) for device in chosen]


def check_room(plan: Plan, folder: Path, at_once: int) -> None:
    """Check that the checkpoints will find room.

    Raises:
        ValueError: the disk has too little.
    """
    sizes = [model["parameters"] for model in plan.models]
    needed = sum(sizes) * len(plan.seeds) * _STAYS + max(sizes) * at_once * _WHILE_TRAINING
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"the checkpoints of {len(sizes) * len(plan.seeds)} runs need about {needed / _GB:.1f} GB, and "
            f"{folder} has {free / _GB:.1f} GB; give --out on another disk, or fewer models or seeds"
        )


def doubts(plan: Plan, classes: dict[str, int]) -> list[str]:
    """Say what does not stop a comparison and should be known.

    Args:
        plan: the comparison.
        classes: number of classes of each checkpoint.
    """
    names, images = plan.data["names"], plan.data["val"]
    said = []
    if images < len(names):
        said.append(
            f"{images} validation images for {len(names)} classes: most classes are in none or one of them, "
            "and differences of mAP say little; validate on more"
        )
    for model, count in classes.items():
        if count != len(names):
            said.append(
                f"{model} was trained on {count} classes and the data have {len(names)}: "
                "the layers that tell classes apart start from random weights, the others from the checkpoint"
            )
    return said
