"""Alignment of a new backbone with a trained detector's, from pictures without labels.

A detector with another backbone starts from nothing, though its neck and head are the trained one's. Drawing its maps
to those of the trained backbone first gives back what the detector knew, before it has seen a label.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.utils import LOGGER

from ..lock import held
from . import checkpoint, detectors, pictures
from .plan import TRAINING, Plan, unfinished
from .trainer import OFF, AlignmentTrainer, read_distances

# A step each batch, AdamW, one cycle: its rate rises over the first epochs and falls to nothing. docs/align.md
SCHEDULE: dict[str, Any] = {
    "epochs": 30, "batch": 16, "optimizer": "AdamW", "lr0": 1e-2, "lrf": 0.01, "cos_lr": True, "weight_decay": 1e-4,
    "warmup_bias_lr": 0.0,
}  # fmt: skip


# Set by the alignment itself: given otherwise, files would lie elsewhere, or neck and head would not be the teacher's.
OWNED = (
    "model", "data", "resume", "project", "name", "exist_ok", "task", "mode", "save", "save_dir", "cfg", "pretrained",
    "freeze", "distill_model",
)  # fmt: skip


@dataclass
class Alignment:
    """Result of an alignment.

    Attributes:
        checkpoint: the aligned detector.
        run: folder of the training.
        before: share of the variance of each of the teacher's maps that the student missed, by the student's row.
        after: likewise, after the alignment.
        metrics_before: Ultralytics' metrics on `data`, where that was given.
        metrics_after: likewise, after the alignment.
        unreadable: pictures that were left out.
    """

    checkpoint: Path
    run: Path
    before: dict[str, float]
    after: dict[str, float]
    metrics_before: dict[str, float] = field(default_factory=dict)
    metrics_after: dict[str, float] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


def align(
    student: str,
    teacher: str,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    run: str | Path,
    data: str = "",
    adapters: bool = False,
    fresh: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Alignment:
    """Draw a detector's maps to a teacher's, and write it with the teacher's neck and head as a checkpoint.

    Nothing is labelled: the classes and the head are the teacher's. An alignment that was stopped goes on from its last
    epoch where it is asked for again.

    Args:
        student: name or file of a config, or a checkpoint: the teacher's detector with another backbone.
        teacher: checkpoint of a trained detector.
        images: folders, pictures, globs, lists in text files, or YAMLs of data sets.
        output: file for the checkpoint.
        run: folder for the training, and for what it begins with.
        data: data set of the teacher's classes with a validation split, to measure mAP before and after; "" for none.
        adapters: put a 1x1 convolution behind maps of a published network that have other channels than the teacher's.
            They stay in the model.
        fresh: drop what the folder holds of an alignment with other arguments.
        arguments: any of `yolo train` but those of `OWNED`, in place of those of `SCHEDULE`.

    Raises:
        FileNotFoundError: there are no such pictures.
        ValueError: student and teacher do not fit, no picture can be read, an argument is of `OWNED`, or the folder
            holds another alignment, or one that is running; or it asks for plots, `rect` or `compile`.
    """
    output, run = Path(output).absolute(), Path(run).absolute()
    sources = [images] if isinstance(images, (str, Path)) else list(images)
    given = {**SCHEDULE, **(arguments or {})}
    for name in OWNED:
        if name in given:
            raise ValueError(f"{name}={given[name]}: an alignment sets {name} itself; leave it out")
    for name, why in OFF.items():
        if given.get(name):
            raise ValueError(f"{name}={given[name]}: {why}; leave it out")
    if not isinstance(given["batch"], int) or given["batch"] < 1:
        raise ValueError(f"batch={given['batch']} is no number of pictures; give one, such as batch=16")
    given.setdefault("nbs", given["batch"])
    plan = Plan(student, teacher, [str(source) for source in sources], adapters, given)
    with held(run, "alignment", "--run"):
        plan.enter(run, fresh)
        if not _trained(run):
            _train(plan, sources, run)
        plan.finish(run)
        checkpoint.finish(run / TRAINING / "weights" / "last.pt", output, detectors.load_teacher(teacher))
        distances = read_distances(run / TRAINING)
        if max(distances["after"].values()) > 1:  # what a map misses that is the same everywhere
            LOGGER.warning("the maps did not come near the teacher's; give more epochs, more pictures or a lower lr0=")
        result = Alignment(output, run, distances["before"], distances["after"], unreadable=tuple(plan.unreadable(run)))
        if data:
            result.metrics_before = _validate(run / "start.pt", data, given)
            result.metrics_after = _validate(output, data, given)
    return result


def _train(plan: Plan, sources: Sequence[str | Path], run: Path) -> None:
    teacher = detectors.load_teacher(plan.teacher)
    start, _ = detectors.student_of(teacher, plan.student, plan.adapters)
    found = pictures.find(sources)
    for file in found.unreadable:
        LOGGER.warning(f"{file} cannot be read as a picture, and is left out")
    plan.write(run, found.unreadable)
    known = str(Path(teacher.pt_path).absolute())
    found.write(run / "pictures.yaml", known, dict(start.names), teacher.yaml.get("channels", 3))
    last = unfinished(run)
    if last is None:
        shutil.rmtree(run / TRAINING, ignore_errors=True)  # of one that ended in its first epoch
        checkpoint.write(start, run / "start.pt")
    overrides = {
        **plan.arguments, "model": str(run / "start.pt"), "data": str(run / "pictures.yaml"), "project": str(run),
        "name": TRAINING, "exist_ok": True, **({"resume": str(last)} if last else {}),
    }  # fmt: skip
    AlignmentTrainer(overrides=overrides).train()


def _trained(run: Path) -> bool:
    """Tell whether the last epoch has ended; the trainer measures `after` then."""
    return unfinished(run) is not None and "after" in read_distances(run / TRAINING)


def _validate(file: Path, data: str, given: Mapping[str, Any]) -> dict[str, float]:
    chosen = {name: given[name] for name in ("imgsz", "device", "workers", "half") if name in given}
    metrics = YOLO(file).val(data=data, plots=False, verbose=False, **chosen)
    return {key: float(value) for key, value in metrics.results_dict.items()}
