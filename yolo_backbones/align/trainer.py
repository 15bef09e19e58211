"""Ultralytics' trainer with another loss: the distance of a student's maps from its teacher's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ultralytics.data import build_dataloader
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT, LOGGER, RANK
from ultralytics.utils.torch_utils import strip_optimizer

from ..leftovers import write_text
from . import junction
from .detectors import like, load_teacher
from .distance import Moments, Unexplained, squared
from .junction import Model
from .pictures import UnlabelledDataset
from .plan import read_object

# Off in an alignment, and why.
OFF = {
    "plots": "there are no labels to draw",
    "rect": "the pictures' shapes are not read",
    "compile": "the network is run up to its head, which is not what would be compiled",
}

# What belongs to it whatever the user asks for.
_FIXED: dict[str, Any] = {"task": "detect", "mode": "train", **dict.fromkeys(OFF, False)}

# Pictures that the deviations of the teacher's channels are estimated from.
_SAMPLE = 256

# In a batch of those that are not trained on: the same whatever the training's, since sums depend on their order.
_STILL = 16

_DISTANCES = "distances.json"


class AlignmentTrainer(DetectionTrainer):  # type: ignore[misc]
    """Trains the rows in which a detector differs from its teacher until the maps behind them are the teacher's.

    Devices, mixed precision, the moving average, checkpoints, resuming, callbacks and results.csv are Ultralytics'.
    `model` is a checkpoint that holds the teacher's weights already in all rows that both share, `data` the YAML that
    `Pictures.write` makes. It names the teacher, so workers on further GPUs find it.
    """

    fine_tunes = False  # what the model's YAML asks for is meant for the training behind it

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        fixed = {name: value for name, value in _FIXED.items() if name in DEFAULT_CFG_DICT}
        super().__init__(cfg, {**(overrides or {}), **fixed}, _callbacks)
        self.teacher = load_teacher(self.data["teacher"])
        self._names_losses: bool = self.loss_names == ()  # from Ultralytics 8.4.150 on, losses come by name

    # ---- the models ----

    def get_model(self, cfg: Any = None, weights: Model | None = None, verbose: bool = True) -> Model:
        """Build the student, for the teacher's task and classes."""
        student = like(self.teacher, cfg, verbose=verbose and RANK == -1)
        if weights:
            student.load(weights)
        return student

    def setup_model(self) -> Any:
        """Build the student, and freeze what it shares with the teacher."""
        checkpoint = super().setup_model()
        self._junction = junction.find(self.model, self.teacher)
        # Ultralytics' own way to freeze is kept in the checkpoint, and holds BatchNorm's statistics as well.
        self.args.freeze = [row for row, _ in self._junction.shared]
        return checkpoint

    def set_model_attributes(self) -> None:
        """Name classes and task as the teacher does."""
        super().set_model_attributes()
        self.model.task = self.teacher.task

    def _setup_train(self, *args: Any) -> None:
        with _quiet_freezing():
            super()._setup_train(*args)
        self.teacher.to(self.device).eval().requires_grad_(False)
        self.teacher.fuse(verbose=False)
        student = self.model.module if hasattr(self.model, "module") else self.model
        # An attribute of this one object: its moving average, which was copied before and is what is saved, stays an
        # ordinary detector.
        student.loss = AlignmentLoss(
            student, self.teacher, self._junction, self._deviations(), self.args.nbs, self.losses
        )
        student.criterion = None  # newer releases look whether it has a schedule
        if RANK in {-1, 0} and not self.resume:
            self._write_distances("before", self._measure(student))

    # ---- the pictures ----

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> UnlabelledDataset:
        """Return the pictures of a split; augmented for training, as they are otherwise."""
        return self._dataset(img_path, augment=mode == "train", batch=batch)

    def _dataset(self, files: Any, augment: bool, batch: int | None) -> UnlabelledDataset:
        return UnlabelledDataset(
            img_path=files, imgsz=self.args.imgsz, batch_size=batch or 1, augment=augment, hyp=self.args, rect=False,
            cache=(self.args.cache or None) if augment else None, stride=self.stride, pad=0.0, data=self.data,
            task="detect", fraction=self.args.fraction if augment else 1.0,
        )  # fmt: skip

    def _still(self, files: list[str]) -> Any:
        """Yield batches of these pictures, in every process the same."""
        size = max(1, min(_STILL, len(files)))
        dataset = self._dataset(files, augment=False, batch=size)
        for batch in build_dataloader(dataset, batch=size, workers=self.args.workers, shuffle=False, rank=-1):
            yield batch["img"].to(self.device).float() / 255

    # ---- what is learned ----

    @torch.no_grad()
    def _deviations(self) -> list[torch.Tensor]:
        files = self.train_loader.dataset.im_files
        moments = Moments()
        for image in self._still(files[:: max(1, len(files) // _SAMPLE)]):
            moments.add(junction.maps(self.teacher, image, self._junction.teacher_maps))
        return [deviation.to(self.device) for deviation in moments.deviations()]

    @torch.no_grad()
    def _measure(self, student: Model) -> dict[str, float]:
        """Return what of each of the teacher's maps a student misses in the pictures that were held out."""
        training = student.training
        student.eval()
        found = Unexplained()
        for image in self._still(self.test_loader.dataset.im_files):
            ours = junction.maps(student, image, self._junction.student_maps)
            found.add(ours, junction.maps(self.teacher, image, self._junction.teacher_maps))
        student.train(training)
        return {f"row{row}": share for row, share in zip(self._junction.student_maps, found.shares())}

    def validate(self) -> tuple[dict[str, float] | None, float | None]:
        """Measure the distance from the teacher in the pictures that were held out; fitness is 1 at no distance."""
        if RANK not in {-1, 0}:
            return None, None
        shares = self._measure(self.ema.ema)
        fitness = 1 / (1 + sum(shares.values()) / len(shares))
        self.best_fitness: float = max(self.best_fitness or 0.0, fitness)
        return {f"unexplained/{name}": share for name, share in shares.items()}, fitness

    def get_validator(self) -> Any:
        """Return the detection validator: not run, but older releases ask it for names."""
        validator = super().get_validator()
        if not self._names_losses:
            self.loss_names = tuple(f"row{row}" for row in self._junction.student_maps)
        return validator

    def losses(self, distances: list[torch.Tensor]) -> Any:
        """Return the losses as this release of Ultralytics logs them."""
        if self._names_losses:
            return {f"row{row}": x.detach() for row, x in zip(self._junction.student_maps, distances)}
        return torch.stack(distances).detach()

    def save_model(self) -> Any:
        """Save it as an ordinary detector."""
        # A recovery from infinite losses copies the trained object, loss included.
        self.ema.ema.__dict__.pop("loss", None)
        return super().save_model()

    def final_eval(self) -> None:
        """Drop what only training needs from the checkpoints."""
        if RANK in {-1, 0}:
            self._write_distances("after", self._measure(self.ema.ema))
            for file in (self.last, self.best):
                if file.exists():
                    strip_optimizer(file)

    def _write_distances(self, when: str, shares: dict[str, float]) -> None:
        folder = Path(self.save_dir)
        write_text(folder / _DISTANCES, json.dumps({**read_distances(folder), when: shares}, indent=1))
        LOGGER.info(f"{when} alignment, unexplained of the teacher's maps: {_shown(shares)}")


def read_distances(training: Path) -> dict[str, dict[str, float]]:
    """Return what each map missed "before" and "after", as far as that is known in a training's folder.

    Raises:
        ValueError: its file is damaged.
    """
    return read_object(training / _DISTANCES) or {}


def _shown(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in shares.items())


@contextmanager
def _quiet_freezing() -> Iterator[None]:
    """Leave out Ultralytics' line for each parameter that is frozen, a hundred of them."""

    def wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Freezing layer")

    LOGGER.addFilter(wanted)
    try:
        yield
    finally:
        LOGGER.removeFilter(wanted)


class AlignmentLoss:
    """The loss of a student for a batch, in the place of its method, so that wrappers of the model still count.

    Args:
        student: a detector.
        teacher: another; its gradients are not computed.
        where: the rows of both.
        deviations: of each channel of the teacher's maps, (c,) each.
        step: pictures in a step of the optimizer, all batches and processes together.
        logged: what makes of the maps' distances what is logged.
    """

    def __init__(
        self,
        student: Model,
        teacher: Model,
        where: junction.Junction,
        deviations: list[torch.Tensor],
        step: int,
        logged: Callable[[list[torch.Tensor]], Any],
    ) -> None:
        self._student, self._teacher = student, teacher
        self._where, self._deviations = where, deviations
        self._step, self._logged = step, logged

    def __call__(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, Any]:
        """Return the sum of the maps' distances, and what is logged of them."""
        image = batch["img"]
        with torch.no_grad():
            theirs = junction.maps(self._teacher, image, self._where.teacher_maps)
        ours = junction.maps(self._student, image, self._where.student_maps)
        distances = squared(ours, theirs, self._deviations)
        # By the share of the step that is here: gradients of several batches are summed, those of several processes
        # averaged and multiplied by their number.
        return torch.stack(distances).sum() * (len(image) / self._step), self._logged(distances)
