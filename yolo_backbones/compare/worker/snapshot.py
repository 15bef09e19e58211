"""State with which a training goes on as if it had never been stopped.

Ultralytics' `last.pt` does not suffice for that. It holds the moving average of the weights, in half precision, from
which a resumed training starts; the optimizer's state in half precision as well; and nothing of the random generators,
of gradients that wait for further batches, of the order of the images, or of those that mosaics are made from. So
a training that was stopped would end with other figures than one that was not, and the models with
more stops would differ by more than their seeds.

A snapshot is written whole or not at all. A checkpoint of the first epoch is kept for what does not change: the model's
structure and the arguments.

Where processes load the images (`workers` above 0, on a GPU), those draw ahead, each from a generator of its own. Their
order and augmentation then differ after a stop, as they do in Ultralytics.
"""

from __future__ import annotations

import pickle
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import leftovers

# Within a run's folder.
FILE = Path("weights", "resume.pt")
BASE, BEST = FILE.with_name("resume-base.pt"), FILE.with_name("resume-best.pt")
FILES = (FILE, BASE, BEST)

_CHECKPOINT = ("epoch", "best_fitness", "updates")  # what a resumed training takes from there alone
_STOPPER = ("best_fitness", "best_epoch", "possible_stop")


def save(trainer: Any) -> None:
    """Write the state after an epoch, right after Ultralytics has written its checkpoints."""
    folder = Path(trainer.save_dir)
    if trainer.best_fitness == trainer.fitness:  # as in Ultralytics: best.pt is of this epoch
        _copy(Path(trainer.best), folder / BEST)
    if not (folder / BASE).exists():
        _copy(Path(trainer.last), folder / BASE)
    loader = trainer.train_loader
    network = trainer.model
    state = {
        "epoch": trainer.epoch,
        "stopped": bool(trainer.stop),
        "best_fitness": trainer.best_fitness,
        "updates": trainer.ema.updates,
        "stopper": {name: getattr(trainer.stopper, name) for name in _STOPPER},
        "scaler": trainer.scaler.state_dict(),
        "model": network.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "gradients": {name: p.grad for name, p in network.named_parameters() if p.grad is not None},
        "last_step": trainer.last_step,
        "random": _generators(),
        "order": loader.generator.get_state(),
        "mosaics": list(getattr(loader.dataset, "buffer", ())),
    }
    with leftovers.replacing(folder / FILE) as part:
        torch.save(state, part)


def _copy(file: Path, target: Path) -> None:
    with leftovers.replacing(target) as part:
        shutil.copyfile(file, part)


@dataclass
class Snapshot:
    """The state after an epoch, read.

    Attributes:
        epoch: number of the epoch, from 0.
        stopped: True if it was the training's last one.
    """

    epoch: int
    stopped: bool
    _state: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Snapshot | None:
        """Return that of a run's folder; None if there is none."""
        for name in FILES:
            leftovers.sweep(folder / name)
        try:
            state = torch.load(folder / FILE, map_location="cpu", weights_only=False)
        except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None  # damaged by a full disk or a loss of power: the training starts over
        return cls(state["epoch"], state["stopped"], state)

    def prepare(self, folder: Path, arguments: dict[str, Any]) -> Path:
        """Put the run's files into the state after the epoch; return the checkpoint to resume.

        Args:
            folder: the run's folder.
            arguments: those of `yolo train` that may differ from when the training began, as where the folder is now.
        """
        checkpoint = torch.load(folder / BASE, map_location="cpu", weights_only=False)
        checkpoint["train_args"].update(arguments)
        checkpoint.update({name: self._state[name] for name in _CHECKPOINT})
        last = folder / "weights" / "last.pt"
        torch.save(checkpoint, last)
        if (folder / BEST).exists():
            shutil.copyfile(folder / BEST, last.with_name("best.pt"))
        curves = folder / "results.csv"
        if curves.exists():  # it may have a row of an epoch that is now trained again
            lines = curves.read_text(encoding="utf-8").splitlines(keepends=True)
            curves.write_text("".join(lines[: self.epoch + 2]), encoding="utf-8")
        return last

    def restore_weights(self, trainer: Any) -> None:
        """Load weights, their average, the optimizer's state and what decides on an early end."""
        trainer.model.load_state_dict(self._state["model"])
        trainer.ema.ema.load_state_dict(self._state["ema"])
        saved = self._state["optimizer"]
        for before, now in zip(saved["param_groups"], trainer.optimizer.param_groups):
            before["fused"] = now.get("fused")  # a matter of the device, which may be another
        trainer.optimizer.load_state_dict(saved)
        if self._state["scaler"]:
            trainer.scaler.load_state_dict(self._state["scaler"])
        vars(trainer.stopper).update(self._state["stopper"])

    def restore_course(self, trainer: Any) -> None:
        """Set what the next batches depend on: gradients that wait, random generators, the order of the images."""
        for name, parameter in trainer.model.named_parameters():
            waiting = self._state["gradients"].get(name)
            parameter.grad = None if waiting is None else waiting.to(parameter.device)
        trainer.carry_on_from(self._state["last_step"])
        loader = trainer.train_loader
        if loader.num_workers == 0:
            for index in self._state["mosaics"]:
                loader.dataset.load_image(index)
            # The state was taken when the epoch's last batch had been drawn. What the sampler draws between two epochs
            # is still to come, so a new one is brought to that point first.
            loader.iterator = loader._get_iterator()
            for _ in range(len(loader)):
                next(loader.iterator._sampler_iter)
            loader.generator.set_state(self._state["order"])
            if trainer.epoch > trainer.epochs - trainer.args.close_mosaic:
                # Mosaics ended in an earlier epoch. Ultralytics ends them again, with a new iterator, which would draw.
                loader.reset = lambda: None
        _set_generators(self._state["random"])


def _generators() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _set_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_initialized() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def counting(trainer: type) -> type:
    """Return a trainer like this one that knows at which batch its last step was, and can go on from there."""
    return type(trainer.__name__, (_Counting, trainer), {})


class _Counting:
    """Part of a trainer.

    Ultralytics takes a step when `accumulate` batches have passed since the last one. That it keeps in a local
    variable, which begins anew in a resumed training; so the number to wait for is put right until the first step.
    """

    batch = -1  # number of the current one, from the first epoch on
    last_step = -1  # the batch after which it was
    _carried: int | None = None
    _accumulate = 1

    def carry_on_from(self, step: int) -> None:
        """Say at which batch the last step was before the training was stopped."""
        self.last_step = self._carried = step

    @property
    def accumulate(self) -> int:
        """Number of batches whose gradients make up a step."""
        if self._carried is not None and self.batch - self._carried < self._accumulate:
            return self.batch + 2  # a resumed training counts from -1
        return self._accumulate

    @accumulate.setter
    def accumulate(self, number: int) -> None:
        self._accumulate = number

    def optimizer_step(self) -> None:
        """Take a step."""
        self.last_step, self._carried = self.batch, None
        super().optimizer_step()  # type: ignore[misc]
