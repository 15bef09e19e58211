"""Configs with `Channels` rows are built for the channels that they name.

Recent releases build each model for an image of three channels first, whatever its YAML says, and the trainer builds it
again for the data set's. A row that takes the fourth to sixth cannot be built for three.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from . import row_checks
from .wrapping import Function, wrap

_ROW = "Channels"


def install() -> None:
    """Have the models' classes take the image's channels from such a config, where the caller names no number."""
    for cls in list(vars(tasks).values()):
        if isinstance(cls, type) and issubclass(cls, tasks.BaseModel) and "__init__" in vars(cls):
            wrap(cls, "__init__", _wrap_init)


def _wrap_init(init: Function) -> Function:
    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) < 2 and "ch" not in kwargs:
            config = args[0] if args else kwargs.get("cfg")
            if isinstance(config, (str, Path)):
                # Read once: a name may have to be composed, and how a dialect was read is told in a line.
                config = tasks.yaml_model_load(config)
                args, kwargs = ((config,), kwargs) if args else ((), {**kwargs, "cfg": config})
            if isinstance(config, dict) and _ROW in row_checks.block_names(config):
                channels = config.get("channels", config.get("ch"))  # `ch` in older releases
                kwargs |= {} if channels is None else {"ch": channels}
        init(self, *args, **kwargs)

    return build
