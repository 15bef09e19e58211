"""Data sets' names: `check_file` finds the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.utils import ROOT, checks

from .. import configs, model_files, names
from ..messages import shown
from . import model_names
from .wrapping import Function, wrap


def install() -> None:
    """Have `check_file` know the shipped data sets."""
    wrap(checks, "check_file", _wrap_check_file)


def _wrap_check_file(check_file: Function) -> Function:
    def check(file: str | Path, *args: Any, **kwargs: Any) -> Any:
        path = Path(str(file).strip())
        if "://" not in str(file) and model_files.too_long(path):
            raise FileNotFoundError(f"{shown(str(path))} has {len(str(path))} characters, which no file's name has")
        shipped = configs.find_dataset(path)
        if shipped is not None and not (ROOT / "cfg" / "datasets" / shipped.name).exists():
            return str(shipped)
        try:
            return check_file(file, *args, **kwargs)
        except FileNotFoundError as error:
            config = path.with_name(f"{path.name}.yaml")  # YOLO("yolov8n-starnet") looks for a file of just that name
            near = names.nearest(path.stem, list(configs.datasets())) if path.parent == Path() else []
            if model_names.is_ours(config):
                raise FileNotFoundError(f"{error}; did you mean {config}?") from None
            if near:
                raise FileNotFoundError(f"{error}; did you mean {near[0]}.yaml?") from None
            raise

    return check
