"""Models' names: `yaml_model_load` finds shipped and composed configs, and suggests the nearest for an unknown name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ultralytics.nn import tasks

from .. import configs, detectors, model_files, names
from ..messages import printable, shown
from .wrapping import Function, wrap

_checks: list[Callable[[Mapping[str, Any]], None]] = []
_translators: list[Callable[[Mapping[str, Any]], dict[str, Any] | None]] = []


def install() -> None:
    """Have `yaml_model_load` find models by this package's names."""
    wrap(tasks, "yaml_model_load", _wrap_yaml_model_load)


def checks_rows_by(check: Callable[[Mapping[str, Any]], None]) -> None:
    """Have `check` called on every config that is loaded."""
    if check not in _checks:
        _checks.append(check)


def translates_by(translator: Callable[[Mapping[str, Any]], dict[str, Any] | None]) -> None:
    """Have a config that is loaded from a user's file put into this package's rows, where the function returns one."""
    if translator not in _translators:
        _translators.append(translator)


def _wrap_yaml_model_load(yaml_model_load: Function) -> Function:
    def load(path: str | Path) -> dict[str, Any]:
        if "://" in str(path):
            return yaml_model_load(path)
        path = Path(path)
        if model_files.too_long(path):
            raise FileNotFoundError(f"{shown(str(path))} has {len(str(path))} characters, which no file's name has")
        path = _canonical(path, say=True)
        config = _find_config(path)
        if config is None:
            try:
                config = yaml_model_load(path)
            except FileNotFoundError:
                raise FileNotFoundError(_not_found_message(path)) from None
            except (yaml.YAMLError, TypeError, ValueError):
                if os.path.isfile(path):
                    model_files.read(path)  # says in a line what is wrong with it
                raise
            for translator in _translators:
                config = translator(config) or config
        for check in _checks:
            check(config)
        return config

    return load


def _canonical(path: Path, say: bool = False) -> Path:
    """Return the name that a composed one spells otherwise; any other name as it is."""
    if path.suffix not in names.SUFFIXES or detectors.known(path.stem) or os.path.exists(path):
        return path
    if configs.find_model(path) is not None:
        return path
    from .. import composition  # slow: it imports every backbone

    found = composition.canonical(path)
    if found is None:
        return path
    if say:
        composition.say_once(found[1])
    return found[0]


def _find_config(path: Path) -> dict[str, Any] | None:
    """Find the config of that name, shipped or composed; None for a file on disk or a name of Ultralytics'."""
    if detectors.known(path.stem):
        return None
    file = configs.find_model(path)
    if file is not None:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {**config, "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}
    if os.path.exists(path):
        return None
    from ..composition import resolve  # slow, as above

    return resolve(path)


def is_ours(path: Path) -> bool:
    """Tell whether this package can load a config of that name."""
    try:
        return _find_config(_canonical(path)) is not None
    except (FileNotFoundError, ValueError):
        return False


def _not_found_message(path: Path) -> str:
    from .. import catalogue, composition  # slow, as above

    letter, file = names.scale(path.stem), printable(path)
    known = [names.with_scale(stem, letter) for stem in [*configs.models(), *detectors.configs()]]
    alone = catalogue.meaning(path.stem)
    if alone or composition.is_backbone(path.stem):
        backbone = alone.name if alone else path.stem
        return f"'{file}' does not exist; a backbone needs a detector, as in yolov8n-{backbone}.yaml"
    detector = detectors.spelled_otherwise(path.stem)
    if detector:
        return f"'{file}' does not exist; did you mean {detector}.yaml?"
    offer = composition.offer(path)
    if offer:
        return f"'{file}' does not exist; {offer}"
    near = names.nearest(path.stem, [*known, *composition.meant(path)])
    if not near:
        return f"'{file}' does not exist; shipped backbones: {', '.join(configs.models())}"
    return f"'{file}' does not exist; did you mean {' or '.join(f'{stem}.yaml' for stem in near)}?"
