"""The steps of the seam: what each needs of Ultralytics, and what is lost where that is missing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from . import (
    block_rows,
    checkpoints,
    data_names,
    fusing,
    initialisation,
    lightly,
    model_names,
    pruning,
    row_errors,
    training,
    users_blocks,
)


@dataclass(frozen=True)
class Step:
    """One change that the package makes to Ultralytics.

    Attributes:
        name: its name in messages.
        install: makes the change. It may be called again: a reload of Ultralytics' modules undoes some changes.
        needs: the attributes that it wraps or writes to, as `module:attribute`.
        lost: what does not work without it.
        essential: true if no model of the package can be built without it.
    """

    name: str
    install: Callable[[], None]
    needs: tuple[str, ...]
    lost: str
    essential: bool = False

    def missing(self) -> list[str]:
        """List the needs that this Ultralytics does not meet."""
        return [need for need in self.needs if not _exists(need)]


def _exists(need: str) -> bool:
    module, _, path = need.partition(":")
    try:
        found: object = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return False
    return True


STEPS = (
    Step(
        "blocks in rows",
        block_rows.install,
        (),  # it also works where `parse_model` has another name
        "model YAMLs know none of the package's blocks, so none of its models can be built",
        essential=True,
    ),
    Step(
        "rows in errors",
        row_errors.install,
        ("ultralytics.nn.tasks:DetectionModel.__init__",),
        "where maps of a YAML of your own do not fit together, the error does not say at which row",
    ),
    Step(
        "models' names",
        model_names.install,
        ("ultralytics.nn.tasks:yaml_model_load", "ultralytics.nn.tasks:guess_model_scale"),
        "names such as yolov8n-starnet.yaml are not found; files that `yolo-backbones new` writes are",
    ),
    Step(
        "data sets' names",
        data_names.install,
        ("ultralytics.utils.checks:check_file", "ultralytics.utils:ROOT"),
        "data=shapes.yaml is not found",
    ),
    Step(
        "merging",
        fusing.install,
        ("ultralytics.nn.tasks:BaseModel.fuse", "ultralytics.nn.tasks:BaseModel.is_fused"),
        "fuse() folds only what Ultralytics folds by itself: the same output, slower",
    ),
    Step(
        "checkpoints",
        checkpoints.install,
        ("ultralytics.nn.tasks:torch_safe_load",),
        "restricted loading refuses the package's models, and training a checkpoint of a published network further "
        "asks for its weights again",
    ),
    Step(
        "published networks' settings",
        initialisation.install,
        ("ultralytics.utils.torch_utils:initialize_weights",),
        "published networks run with Ultralytics' BatchNorm settings, and their features differ a little",
    ),
    Step(
        "training hooks",
        training.install,
        ("ultralytics.utils.callbacks:default_callbacks",),
        "what changes in the course of a training does not: families' blocks (`deep_training`), `unfreeze_epoch` and "
        "`backbone_lr` have no effect",
    ),
    Step(
        "blocks of the user's own",
        users_blocks.install,
        (),
        "rows cannot name them",
    ),
    Step(
        "LightlyTrain",
        lightly.install,
        (),  # its own internals, and only where it is installed
        "LightlyTrain cannot tell which rows of the package's models are the backbone, and does not pretrain them",
    ),
    Step(
        "Torch-Pruning",
        pruning.install,
        (),  # its own interface, and only where it is installed
        "Torch-Pruning cannot follow the channels through some families' blocks, and fails on their models",
    ),
)
