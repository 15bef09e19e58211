"""Fine-tuning: a backbone that is frozen at first, and that learns more slowly than the rest, as a model's YAML says.

Both act in Ultralytics' callbacks alone, from what each epoch begins with. So they hold for every trainer, in each
process of a training and right after resuming; and the optimizer in a checkpoint is the one that Ultralytics built.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER

from ..messages import shown

# Parameters that Ultralytics never trains, by parts of their names.
_NEVER_TRAINED = (".dfl", "teacher_model.")


@dataclass(frozen=True)
class FineTuning:
    """Options of a model's YAML.

    Attributes:
        unfreeze_epoch: epochs at the beginning of a training in which rows are frozen; None if it frees none.
        backbone_lr: learning rate of the backbone, as a multiple of the other rows'.
    """

    unfreeze_epoch: int | None = None
    backbone_lr: float = 1.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> FineTuning:
        """Read the options in a model's YAML.

        Raises:
            ValueError: one is invalid; the message gives the rule.
        """
        epoch, rate = config.get("unfreeze_epoch"), config.get("backbone_lr", 1.0)
        if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1):
            raise ValueError(
                f"the model's YAML has unfreeze_epoch: {shown(epoch)}, where a whole number of epochs from 1 on belongs"
            )
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise ValueError(
                f"the model's YAML has backbone_lr: {shown(rate)}, where a number above 0 belongs, such as 0.1"
            )
        return cls(epoch, rate)


# ---- Ultralytics' callbacks ----


def on_train_start(trainer: Any, config: Mapping[str, Any]) -> None:
    """Log in a line what the YAML asks for."""
    options = _options(trainer, config)
    said = []
    if options.unfreeze_epoch is not None:
        said.append(_freezing(_frozen_rows(trainer, config), options.unfreeze_epoch, trainer))
    if options.backbone_lr != 1:
        rows = backbone_rows(trainer.model, config)
        said.append(f"the backbone, {_named(rows)}, learns at {options.backbone_lr:g} times the rate of the others")
    if said:
        LOGGER.info(f"Fine-tuning: {'; '.join(said)}")


def on_train_epoch_start(trainer: Any, config: Mapping[str, Any]) -> None:
    """Freeze or free what the epoch has frozen or free, and see to the backbone's learning rate."""
    options = _options(trainer, config)
    if options.unfreeze_epoch is not None:
        rows, frozen = _frozen_rows(trainer, config), trainer.epoch < options.unfreeze_epoch
        if _freeze(trainer, rows, frozen) and not frozen and trainer.epoch == options.unfreeze_epoch:
            LOGGER.info(f"Fine-tuning: {_named(rows)} free from epoch {trainer.epoch + 1} on")
    # A lack of memory in the first epoch makes older releases build the optimizer anew.
    if options.backbone_lr != 1 and not hasattr(trainer.optimizer, "backbone_lr"):
        slow_down(trainer.optimizer, _parameters(trainer.model, backbone_rows(trainer.model, config)), options)


def _options(trainer: Any, config: Mapping[str, Any]) -> FineTuning:
    """Return the options that a training obeys: none where it is no training of a detector (`align`)."""
    return FineTuning.of(config) if getattr(trainer, "fine_tunes", True) else FineTuning()


# ---- rows ----


def backbone_rows(model: nn.Module, config: Mapping[str, Any]) -> list[int]:
    """List a model's rows that are its backbone: those of a whole network or, without one, of the YAML's `backbone`."""
    loaded = sys.modules.get("yolo_backbones.backbones.network")
    layers = _learning(model).model
    networks = [i for i, layer in enumerate(layers) if loaded and isinstance(layer, loaded.Network)]
    return networks or list(range(len(config["backbone"])))


def _frozen_rows(trainer: Any, config: Mapping[str, Any]) -> list[int]:
    """List the rows that `freeze` names, as Ultralytics reads it; without it, the backbone's."""
    given = trainer.args.freeze
    if given is None:
        return backbone_rows(trainer.model, config)
    return given if isinstance(given, list) else list(range(given)) if isinstance(given, int) else []


def _learning(model: Any) -> Any:
    """Return the model that learns, out of what it is wrapped in: other processes', a compiler, a teacher beside it."""
    for wrapper in ("module", "_orig_mod", "student_model"):
        model = getattr(model, wrapper, model)
    return model


def _parameters(model: nn.Module, rows: Sequence[int]) -> list[nn.Parameter]:
    layers = _learning(model).model
    return [parameter for row in rows for parameter in layers[row].parameters()]


def _named(rows: Sequence[int]) -> str:
    if list(rows) == list(range(len(rows))) and len(rows) > 1:
        return f"rows 0 to {len(rows) - 1}"
    return f"row{'s' if len(rows) != 1 else ''} {', '.join(map(str, rows)) or 'none'}"


# ---- freezing ----


def _freezing(rows: Sequence[int], until: int, trainer: Any) -> str:
    if trainer.start_epoch >= until:
        return f"{_named(rows)} free since epoch {until + 1} of {trainer.epochs} (unfreeze_epoch: {until})"
    last = min(until, trainer.epochs)
    return f"{_named(rows)} frozen up to epoch {last} of {trainer.epochs} (unfreeze_epoch: {until})"


def _freeze(trainer: Any, rows: Sequence[int], frozen: bool) -> bool:
    """Freeze rows or free them, statistics of BatchNorm included; tell whether that changed anything."""
    names = [f"model.{row}." for row in rows]
    changed = False
    for name, parameter in trainer.model.named_parameters():
        held = any(part in name for part in names) and not any(part in name for part in _NEVER_TRAINED)
        if held and parameter.dtype.is_floating_point and parameter.requires_grad is frozen:
            parameter.requires_grad_(not frozen)
            changed = True
    # Each epoch, the trainer puts the BatchNorms of these into evaluation mode.
    others = [name for name in getattr(trainer, "freeze_layer_names", ()) if name not in names]
    trainer.freeze_layer_names = others + names if frozen else others
    if changed and isinstance(trainer.model, nn.parallel.DistributedDataParallel):
        # It sums the gradients of the parameters that had some when it was built. A copy is built anew, by its own
        # `__setstate__`, around the same model.
        trainer.model = copy.copy(trainer.model)
    return changed


# ---- learning rate ----


def slow_down(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], options: FineTuning) -> None:
    """Have an optimizer take each step with another learning rate for some parameters: `backbone_lr` times the others'.

    Its groups are divided for the step alone. So each schedule and warm-up sets the rates as ever, that of the biases
    included, and a state of the optimizer fits with or without this option.
    """
    slower = {id(parameter) for parameter in parameters}
    whole: list[list[nn.Parameter]] = []

    def divide(*_: Any) -> None:
        join()  # where the last step failed
        for group in list(optimizer.param_groups):
            whole.append(group["params"])
            ours = [parameter for parameter in group["params"] if id(parameter) in slower]
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in slower]
            optimizer.param_groups.append({**group, "params": ours, "lr": group["lr"] * options.backbone_lr})

    def join(*_: Any) -> None:
        if whole:
            del optimizer.param_groups[len(whole) :]
            for group, given in zip(optimizer.param_groups, whole):
                group["params"] = given
            whole.clear()

    optimizer.register_step_pre_hook(divide)
    optimizer.register_step_post_hook(join)
    optimizer.backbone_lr = options.backbone_lr  # type: ignore[attr-defined]
