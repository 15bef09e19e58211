"""Models' names: `yaml_model_load` finds shipped and composed configs, and says what else a name may have meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ultralytics.nn import tasks

from .. import configs, detectors, names
from .wrapping import Function, wrap

_checks: list[Callable[[Mapping[str, Any]], None]] = []


def install() -> None:
    """Have `yaml_model_load` know our names."""
    wrap(tasks, "yaml_model_load", _with_our_models)


def checks_rows_by(check: Callable[[Mapping[str, Any]], None]) -> None:
    """Have every config that is loaded checked."""
    if check not in _checks:
        _checks.append(check)


def _with_our_models(yaml_model_load: Function) -> Function:
    def load(path: str | Path) -> dict[str, Any]:
        if "://" in str(path):
            return yaml_model_load(path)
        path = Path(path)
        config = _ours(path)
        if config is None:
            try:
                config = yaml_model_load(path)
            except FileNotFoundError:
                raise FileNotFoundError(_unknown(path)) from None
        for check in _checks:
            check(config)
        return config

    return load


def _ours(path: Path) -> dict[str, Any] | None:
    """Return the config of that name, shipped or composed; None for what is on disk or Ultralytics' own."""
    if detectors.known(path.stem):
        return None
    file = configs.find_model(path)
    if file is not None:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {**config, "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}
    if os.path.exists(path):
        return None
    from ..composition import resolve  # knows every backbone, which other names need not wait for

    return resolve(path)


def is_ours(path: Path) -> bool:
    """Tell whether a config of that name could be loaded from here."""
    try:
        return _ours(path) is not None
    except (FileNotFoundError, ValueError):
        return False


def _unknown(path: Path) -> str:
    from .. import composition  # as above

    letter = names.scale(path.stem)
    known = [names.with_scale(stem, letter) for stem in [*configs.models(), *detectors.configs()]]
    if composition.is_backbone(path.stem):
        return f"'{path}' does not exist; a backbone needs a detector, as in yolov8n-{path.stem}.yaml"
    near = names.nearest(path.stem, [*known, *composition.meant(path)])
    if not near:
        return f"'{path}' does not exist; shipped backbones: {', '.join(configs.models())}"
    return f"'{path}' does not exist; did you mean {' or '.join(f'{stem}.yaml' for stem in near)}?"
