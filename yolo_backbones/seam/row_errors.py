"""Errors that come up while a model is built say at which row of its YAML.

An error is only looked at after it was raised, in the frames that it passed through: models that build cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

import torch
from ultralytics.nn import tasks

from .. import registry
from ..messages import FAULTS, first_line, shown
from . import row_checks
from .wrapping import Function, wrap

_checks: list[Callable[[Mapping[str, Any]], None]] = []


def install() -> None:
    """Have a detector that cannot run say which row cannot."""
    wrap(tasks.DetectionModel, "__init__", _wrap_init)


def checks_rows_by(check: Callable[[Mapping[str, Any]], None]) -> None:
    """Have `check` called on the config of a detector that could not be built."""
    if check not in _checks:
        _checks.append(check)


def parsed(parse_model: Callable[..., Any], config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Call `parse_model`, and put the row in front of what an error says.

    Raises:
        TypeError: as raised.
        ValueError: as raised, or in place of another error of the row's.
        ConnectionError: published weights could not be downloaded.
    """
    try:
        return parse_model(config, *args, **kwargs)
    except ConnectionError as error:
        from .. import dialects  # here, since it imports every backbone, and only this error needs it

        if not dialects.was_read(config):
            raise
        way_out = "or write False as pretrained in the row, to build it without weights"
        raise ConnectionError(f"{error}; {way_out}") from error
    except FAULTS as error:
        frame = _frame(error.__traceback__, "parse_model")
        i = frame.f_locals.get("i") if frame else None
        if not isinstance(i, int):
            raise
        said = first_line(error)
        if said.startswith("row "):
            raise
        row = (config["backbone"] + config["head"])[i]
        own = row[2] in registry.blocks() and isinstance(error, (TypeError, ValueError))
        message = f"row {i}: {said}" if own else f"row {i}: {row[2]}: {shown(row[3])} cannot be built ({said})"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error


def _wrap_init(init: Function) -> Function:
    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except FAULTS as error:
            frame = _frame(error.__traceback__, "_predict_once")
            row = frame.f_locals.get("m") if frame else None
            config = vars(self).get("yaml")
            if isinstance(config, dict):
                for check in _checks:  # Ultralytics itself looks into some rows before `parse_model`
                    check(config)
            if frame is None or row is None or not _runs_ours(frame.f_locals["self"]):
                raise
            took = _shapes(frame.f_locals.get("x"))
            raise ValueError(
                f"row {row.i}: {row.type.rpartition('.')[2]} cannot take {took} ({first_line(error)}); change its "
                "arguments, or the stride or channels of a row that it reads"
            ) from error

    return build


def has_ours(config: Any) -> bool:
    """Tell whether a config has a row of a registered block."""
    return isinstance(config, dict) and any(name in registry.blocks() for name in row_checks.block_names(config))


def _runs_ours(model: Any) -> bool:
    """Tell whether a model has a registered block. Its config may not say so yet, if that is in a dialect."""
    ours = tuple(block.cls for block in registry.blocks().values())
    return any(isinstance(module, ours) for module in model.modules())


def _frame(trace: TracebackType | None, name: str) -> FrameType | None:
    """Find the innermost frame of a function of that name."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_name == name:
            found = trace.tb_frame
        trace = trace.tb_next
    return found


def _shapes(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a map of {'x'.join(map(str, value.shape))}"
    if isinstance(value, (list, tuple)):
        return "maps of " + ", ".join(
            "x".join(map(str, map_.shape)) for map_ in value if isinstance(map_, torch.Tensor)
        )
    return "what it reads"
