"""Composition of a detector's config and a backbone into a config.

The new backbone's maps leave at the same rows as the detector's, so the head stays unchanged; see docs/design.md.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from . import catalogue, configs, detectors, names
from .backbones import find, is_of_this_package, rows
from .backbones import is_backbone as _is_backbone
from .families import families as _families
from .layers import checks


def compose(
    base: str | Path,
    backbone: str,
    weights: str | Path | None = None,
    drop_path: float | None = None,
    frozen_bn: bool = False,
) -> dict[str, Any]:
    """Return the base's config with another backbone, for `DetectionModel(...)` or to be dumped as YAML.

    Args:
        base: a detector as Ultralytics names it, "yolov8n" or "yolo11s-seg"; or a YAML file of your own.
        backbone: a family ("starnet"), scaled by the base's letter; a published variant ("starnet_s1") or any of
            timm's architectures ("resnet18"), at its published size. A tag behind a dot asks for these weights:
            "starnet_s1.in1k".
        weights: a file to load in place of a tag's.
        drop_path: rate of stochastic depth at the last block of a published network; None for its own.
        frozen_bn: true to keep statistics, scale and shift of a published network's BatchNorms.

    Returns:
        A dictionary as Ultralytics reads it from a YAML, with the base's scale, where it has a letter, as the
        only one, so that a file of any name keeps it.

    Raises:
        FileNotFoundError: no such base, or no such file of weights.
        ValueError: no such backbone or tag, or one that does not fit the base or has no such option; the message says
            what does.
    """
    base, backbone = _meant_detector(base), _meant_backbone(backbone)
    detector = detectors.find(base)
    name, tag = names.split_tag(backbone)
    found = find(name)
    source = found.source(tag, weights)
    if drop_path is not None:
        checks.probability(name, drop_path=drop_path)
        found = found.with_drop_path(drop_path)
    placed = found.rows(detector, source)
    if frozen_bn:
        rows.freeze_batch_norms(placed, name)
    config = copy.deepcopy(dict(detector.config))
    if any(row[2] in family.foreign_rows for family in _families().values() for row in placed):
        config[rows.DIALECT] = rows.OWN  # else the detector is built twice, to see what the rows mean
    config["backbone"] = [*placed, *config["backbone"][detector.last + 1 :]]
    if config.get("scales") and detector.scale:
        # Alone, since Ultralytics takes the first of them where a file's name has no letter.
        config["scales"] = {detector.scale: config["scales"][detector.scale]}
    return config | {"scale": detector.scale, "yaml_file": f"{names.join(detector.name, backbone)}.yaml"}


def _meant_detector(base: str | Path) -> str | Path:
    stem = names.stem_of(base)
    meant = None if Path(base).is_file() else detectors.spelled_otherwise(stem)
    if meant is None:
        return base
    say_once(_explained_detector(stem, meant))
    return meant


def _explained_detector(typed: str, meant: str) -> str:
    return f"{typed} is Ultralytics' {meant}"


def _meant_backbone(typed: str) -> str:
    if _of_this_package(typed):
        return typed
    found = catalogue.meaning(typed)
    if found is None or found.name == typed:
        return typed
    say_once(catalogue.explained(typed, found))
    return found.name


@functools.cache
def say_once(line: str) -> None:
    """Log a line, and no second time in a process: a model is built several times."""
    LOGGER.info(f"yolo_backbones: {line}")


def levels(config: dict[str, Any]) -> list[int | None]:
    """Find the stride of each backbone row's output in a composed config; None where it gives none or several."""
    written = rows.strides(config)
    return list(detectors.run(config, config.get("scale", ""))[0]) if written is None else written


def resolve(path: Path) -> dict[str, Any] | None:
    """Compose the config that a file's name means; return None if it is no composed name.

    Args:
        path: `{base}{scale}-{backbone}[-{rest}].yaml`, in any folder.

    Raises:
        FileNotFoundError: it is one, but there is no such base.
        ValueError: it is one, but backbone and base do not fit, or it can be read in two ways.
    """
    if path.suffix not in names.SUFFIXES or "-" not in path.stem:
        return None
    readings = list(names.readings(path.stem))
    fitting = [(base, token) for base, token in readings if detectors.known(base)]
    found = [(base, token) for base, token in fitting if is_backbone(token)]
    if len(found) > 1:
        ways = " or as ".join(f"{base} with backbone {token}" for base, token in found)
        base, token = found[0]
        raise ValueError(
            f"{path.name} can be read as {ways}; write a file of your own with "
            f"`yolo-backbones new {base} {token} -o my.yaml`"
        )
    if found:
        return compose(*found[0]) | {"yaml_file": str(path)}
    backbones = [(base, token) for base, token in readings if is_backbone(token)]
    if len(backbones) > 1 and not fitting:
        several = " and ".join(token for _, token in backbones)
        raise ValueError(f"{path.name} names {len(backbones)} backbones, {several}, and a model has one; leave one")
    if backbones and not fitting:
        detectors.find(backbones[0][0])  # raises, and says what is wrong with the base
    return None


def canonical(path: Path) -> tuple[Path, str] | None:
    """Find the name that a file's name spells otherwise, where one alone is right: yolov8n-ResNet-18.yaml.

    Args:
        path: in any folder; where that does not exist, it may be part of the name, as in yolov8n-timm/resnet18.yaml.

    Returns:
        The name, in the same folder, and what is to be said. None for a composed name as it is, for one that is none,
        and where several are right.
    """
    exact = [(base, token) for base, token in names.readings(path.stem) if detectors.known(base)]
    if any(_of_this_package(token) for _, token in exact):
        return None
    found = {}
    for base, token, folder, typed in _with_detector(path):
        backbone = catalogue.meaning(token)
        if backbone is None:
            continue
        if backbone.name == token and (base, token) in exact:
            return None
        whole = folder / f"{names.join(base, backbone.name)}{path.suffix}"
        reasons = [] if typed == base else [_explained_detector(typed, base)]
        reasons += [] if backbone.name == token else [catalogue.explained(token, backbone)]
        found[whole] = "; ".join(reasons)
    if len(found) != 1 or detectors.spelled_otherwise(path.stem):
        return None
    ((whole, reason),) = found.items()
    return whole, f"{path} is read as {whole}" + (f": {reason}" if reason else "")


def _typed(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield folder and stem of a name that has one of the hub's inside, and those of any other."""
    yield path.parent, path.stem
    if "-" in path.parent.name and not os.path.isdir(path.parent):
        yield path.parent.parent, f"{path.parent.name}/{path.stem}"


def _of_this_package(name: str) -> bool:
    return is_of_this_package(names.split_tag(name)[0])


def is_backbone(name: str) -> bool:
    """Tell whether a backbone has that name, with or without a tag."""
    return _is_backbone(names.split_tag(name)[0])


def meant(path: Path) -> list[str]:
    """List composed names, without suffix, that are much like a file's name, for known detectors."""
    return [names.join(base, name) for base, token, _, _ in _with_detector(path) for name in catalogue.nearest(token)]


def offer(path: Path) -> str:
    """Say what to choose from where a name has a series or a network that is not here in a backbone's place."""
    for base, token, folder, _ in _with_detector(path):
        said = catalogue.offer(token, f"{folder / names.join(base, '{}')}{path.suffix}")
        if said:
            return said
    return ""


def _with_detector(path: Path) -> Iterator[tuple[str, str, Path, str]]:
    """Yield each way to read a name as a detector, words behind it, the folder, and the detector as it was typed."""
    for folder, typed in _typed(path):
        for base, token in names.spans(typed):
            detector = base if detectors.known(base) else detectors.spelled_otherwise(base)
            if detector:
                yield detector, token, folder, base


def families() -> list[str]:
    """List the families' names, which every base's letter scales."""
    return [stem.removeprefix(configs.FAMILY) for stem in configs.models()]
