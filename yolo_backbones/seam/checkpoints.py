"""Checkpoints: restricted loading takes our layers, and loaded models ask for no published weights."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics import utils
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from .. import registry, user_blocks
from ..weights.guard import checkpoint_loading
from ..weights.read import SUFFIXES
from . import model_names
from .wrapping import Function, wrap

# What torch raises for an empty or truncated file, or recent releases of Ultralytics in its place (TypeError).
_UNREADABLE = (EOFError, RuntimeError, pickle.UnpicklingError, TypeError)


def install() -> None:
    """Have `torch_safe_load` know our models."""
    wrap(tasks, "torch_safe_load", _wrap_torch_safe_load)


def _wrap_torch_safe_load(torch_safe_load: Function) -> Function:
    """Let restricted loading (`ULTRALYTICS_SAFE_LOAD=1`, `safe_only=True`) take the layers that models consist of."""
    signature = inspect.signature(torch_safe_load)

    def load(weight: str | Path, *args: Any, **kwargs: Any) -> Any:
        _refuse_bare_weights(weight)
        given = signature.bind(weight, *args, **kwargs).arguments.get("safe_only")
        safe_only = getattr(utils, "SAFE_LOAD", False) if given is None else given
        try:
            with checkpoint_loading(), _allow_layers(weight) if safe_only else nullcontext():
                checkpoint, file = torch_safe_load(weight, *args, **kwargs)
        except _UNREADABLE as error:
            from .unfinished_saves import whole_neighbour  # here, since few files are damaged

            whole = whole_neighbour(Path(str(weight)))
            if whole is None:
                raise
            with checkpoint_loading(), _allow_layers(whole) if safe_only else nullcontext():
                checkpoint, file = torch_safe_load(str(whole), *args, **kwargs)
            if not _is_ours(checkpoint):
                raise error from None
            LOGGER.warning(
                f"yolo_backbones: {weight} is empty or cut short, as where a training is ended while it saves; "
                f"{whole.name} beside it is whole, of epoch {checkpoint.get('epoch', -1) + 1}, and is taken instead"
            )
        except FileNotFoundError as error:
            config = Path(weight).with_suffix(".yaml")
            if not model_names.is_ours(config):
                raise
            raise FileNotFoundError(
                f"'{weight}' does not exist, and trained weights of that name are not published; "
                f"{config.name} is the untrained model"
            ) from error
        for part in ("model", "ema"):
            if isinstance(checkpoint.get(part), nn.Module):
                _forget_weights(checkpoint[part])
        return checkpoint, file

    return load


def _refuse_bare_weights(weight: str | Path) -> None:
    """Say how a model gets weights that are no checkpoint of Ultralytics', such as `pretrained=resnet18.pth`.

    Raises:
        AssertionError: the file has the suffix of such weights; Ultralytics raises it for any suffix but its own.
    """
    if Path(str(weight)).suffix.lower() in SUFFIXES - {".pt"}:
        raise AssertionError(
            f"{weight} is no .pt checkpoint, which is all that Ultralytics loads; weights of a backbone are given to "
            f"the model: `yolo-backbones new yolov8n resnet18 --weights {weight}` writes a model's YAML that loads them"
        )


def _is_ours(checkpoint: Any) -> bool:
    """Tell whether a checkpoint's model has a block of this package or of the user's."""
    model = checkpoint.get("ema") or checkpoint.get("model")
    classes = {block.cls for block in registry.blocks().values()}
    return isinstance(model, nn.Module) and any(type(module) in classes for module in model.modules())


def _allow_layers(weight: str | Path) -> AbstractContextManager[None]:
    from .restricted_loading import allowing  # here, since few load so

    registered = {block.cls.__module__ for block in registry.blocks().values() if not block.shipped}
    return allowing(weight, registered | user_blocks.modules())


def _forget_weights(model: nn.Module) -> None:
    """Stop a model from a checkpoint from asking for published weights: it brings its own.

    Ultralytics builds it again from the YAML that it carries, to train it further.
    """
    from ..backbones import rows  # here, since models without a network of ours need none

    for config in configs_of(model):
        rows.forget_weights(config)


def configs_of(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield the configs that a model, also a wrapped one, was built from: one, or two where it is distilled."""
    for module in model.modules():
        config = getattr(module, "yaml", None)
        if isinstance(config, dict):
            yield config
