"""Composition of a detector's config and a backbone into a config.

The new backbone's maps leave at the same rows as the detector's, so the head stays unchanged; see docs/design.md.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from . import catalogue, configs, detectors, names
from .backbones import find, rows
from .backbones import is_backbone as _is_backbone


def compose(base: str | Path, backbone: str, weights: str | Path | None = None) -> dict[str, Any]:
    """Return the base's config with another backbone, for `DetectionModel(...)` or to be dumped as YAML.

    Args:
        base: a detector as Ultralytics names it, "yolov8n" or "yolo11s-seg"; or a YAML file of your own.
        backbone: a family ("starnet"), scaled by the base's letter; a published variant ("starnet_s1") or any of
            timm's architectures ("resnet18"), at its published size. A tag behind a dot asks for these weights:
            "starnet_s1.in1k".
        weights: a file to load in place of a tag's.

    Returns:
        A dictionary as Ultralytics reads it from a YAML, with the base's scale, where it has a letter, as the
        only one, so that a file of any name keeps it.

    Raises:
        FileNotFoundError: no such base, or no such file of weights.
        ValueError: no such backbone or tag, or one that does not fit the base; the message says what does.
    """
    detector = detectors.find(base)
    name, tag = names.split_tag(backbone)
    found = find(name)
    source = found.source(tag, weights)
    config = copy.deepcopy(dict(detector.config))
    config["backbone"] = [*found.rows(detector, source), *config["backbone"][detector.last + 1 :]]
    if config.get("scales") and detector.scale:
        # Alone, since Ultralytics takes the first of them where a file's name has no letter.
        config["scales"] = {detector.scale: config["scales"][detector.scale]}
    return config | {"scale": detector.scale, "yaml_file": f"{names.join(detector.name, backbone)}.yaml"}


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


def is_backbone(name: str) -> bool:
    """Tell whether a backbone has that name, with or without a tag."""
    return _is_backbone(names.split_tag(name)[0])


def meant(path: Path) -> list[str]:
    """List composed names, without suffix, that are much like a file's name, for known detectors."""
    return [
        path.stem.replace(token, name)
        for base, token in names.readings(path.stem)
        if detectors.known(base)
        for name in catalogue.nearest(names.split_tag(token)[0])
    ]


def families() -> list[str]:
    """List the families' names, which every base's letter scales."""
    return [stem.removeprefix(configs.FAMILY) for stem in configs.models()]
