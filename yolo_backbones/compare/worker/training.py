"""One training of Ultralytics' own, which goes on where an earlier process was ended, and its record."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO

from ...bench import hardware
from ...bench.worker import memory, network
from ..plan import Plan
from ..record import FINISHED, RUNS, Record
from . import snapshot

_PARTS = {"segment": "seg", "pose": "pose"}  # of the metrics, where it is not `box`
_MIB = 2**20
_NO_MORE_RETRIES = 3


class Training:
    """A run: trains, and keeps the record.

    Args:
        folder: the comparison's.
        model: its name in the comparison.
        seed: the seed.
        device: `cpu`, or the number of a GPU.
    """

    def __init__(self, folder: Path, model: str, seed: int, device: str) -> None:
        self._comparison = folder
        self._plan = Plan.read(folder)
        self._record = Record.read(folder, model, seed)
        self._source = self._plan.model(model)["source"]
        self._folder = folder / RUNS / self._record.name
        self._device = device
        self._snapshot: snapshot.Snapshot | None = None
        self._before = self._record.seconds  # of earlier attempts
        self._start = 0.0

    def run(self) -> None:
        """Train, or go on, and write the record."""
        self._snapshot = snapshot.Snapshot.read(self._folder)
        if self._snapshot and self._snapshot.stopped:  # ended between its last epoch and its record
            best = self._snapshot.prepare(self._folder, {}).with_name("best.pt")
            model = YOLO(best)
            measured = model.val(**self._validation(model))
        else:
            model = self._resumed(self._snapshot) if self._snapshot else self._new()
            measured = model.trainer.validator.metrics
            best = model.trainer.best
        self._finish(best, measured)

    def _new(self) -> Any:
        shutil.rmtree(self._folder / "weights", ignore_errors=True)
        self._record.epochs, self._record.seconds, self._before = 0, 0.0, 0.0
        arguments = {
            **self._plan.arguments,
            "data": self._plan.data["path"],
            "epochs": self._plan.epochs,
            "seed": self._record.seed,
        }
        return self._train(YOLO(self._source), {**arguments, **self._places()})

    def _resumed(self, state: snapshot.Snapshot) -> Any:
        self._record.epochs = state.epoch + 1
        self._record.resumed.append(state.epoch + 1)
        places = self._places()
        last = state.prepare(self._folder, {**places, "save_dir": str(self._folder), "data": self._plan.data["path"]})
        again = {"resume": str(last), "data": self._plan.data["path"], "device": self._device}
        return self._train(YOLO(last), again)

    def _places(self) -> dict[str, Any]:
        return {
            "project": str(self._folder.parent),
            "name": self._folder.name,
            "exist_ok": True,
            "device": self._device,
        }

    def _train(self, model: Any, arguments: dict[str, Any]) -> Any:
        self._record.task = model.task
        events = ("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_model_save")
        for event in events:
            model.add_callback(event, getattr(self, event))
        model.train(trainer=snapshot.counting(model.task_map[model.task]["trainer"]), **arguments)
        return model

    def on_train_start(self, trainer: Any) -> None:
        """Load the state of before, and start the clock."""
        if self._snapshot:
            self._snapshot.restore_weights(trainer)
        on_cpu = trainer.device.type == "cpu"
        self._record.device = hardware.processor() if on_cpu else torch.cuda.get_device_name(trainer.device)
        self._record.write(self._comparison)
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Count batches from here, and go on as before the stop."""
        trainer.batch = trainer.epoch * len(trainer.train_loader) - 1
        # Ultralytics would train with half the batch where memory runs out in the first epoch: not the same schedule.
        trainer._oom_retries = _NO_MORE_RETRIES
        if self._snapshot and trainer.epoch == self._snapshot.epoch + 1:
            self._snapshot.restore_course(trainer)

    def on_train_batch_start(self, trainer: Any) -> None:
        """Count the batch."""
        trainer.batch += 1

    def on_model_save(self, trainer: Any) -> None:
        """Write the state after the epoch, and how far the run is."""
        snapshot.save(trainer)
        self._record.epochs = trainer.epoch + 1
        self._record.metrics = _numbers(trainer.metrics)
        self._record.seconds = self._before + time.monotonic() - self._start
        self._record.memory = max(self._record.memory or 0.0, _peak(trainer.device))
        self._record.write(self._comparison)

    def _validation(self, model: Any) -> dict[str, Any]:
        """Return the arguments with which Ultralytics validates at the end of a training."""
        settings = model.ckpt["train_args"]
        batch = settings["batch"] * (1 if model.task == "obb" else 2)
        chosen = {key: settings[key] for key in ("imgsz", "conf", "iou", "max_det", "single_cls", "split")}
        return {
            **chosen, "data": self._plan.data["path"], "batch": batch, "device": self._device, "plots": False,
            "project": str(self._folder), "name": "val", "exist_ok": True,
        }  # fmt: skip

    def _finish(self, best: Path, measured: Any) -> None:
        """Write what is known of the best epoch's weights."""
        record = self._record
        record.metrics = _numbers(measured.results_dict)
        record.classes = _classes(measured, self._plan.task)
        record.images = self._plan.data["val"]
        model = network.build(str(best))
        imgsz = YOLO(best).ckpt["train_args"]["imgsz"]
        facts = network.describe(model, imgsz)
        record.parameters, record.gflops = facts["parameters"], facts["gflops"]
        facts = network.describe(network.fused(model), imgsz)
        record.parameters_fused, record.gflops_fused = facts["parameters"], facts["gflops"]
        record.state = FINISHED
        record.write(self._comparison)
        for name in snapshot.FILES:
            (self._folder / name).unlink(missing_ok=True)


def _peak(device: Any) -> float:
    return (torch.cuda.max_memory_reserved(device) if device.type == "cuda" else memory.peak()) / _MIB


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics alone, without losses and the fitness that is computed from them."""
    return {key: float(value) for key, value in metrics.items() if key.startswith("metrics/")}


def _classes(measured: Any, task: str) -> dict[str, float]:
    """Return AP50-95 of each class that the validation split has; empty for tasks that have none."""
    part = getattr(measured, _PARTS.get(task, "box"), None)
    if part is None:
        return {}
    return {measured.names[int(index)]: float(ap) for index, ap in zip(part.ap_class_index, part.ap)}
