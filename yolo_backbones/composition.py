"""A base config and a backbone make a config.

The new backbone's maps leave at the rows where the base's did, so the head is the base's, row for row; see
docs/design.md.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import bases, catalogue, configs
from .blocks import network
from .blocks.timm import Shapes, TimmFeatures
from .blocks.timm import has as in_timm

if TYPE_CHECKING:  # bases.py may be what is imported first, and have activated the plugin before it defines anything
    from .bases import Base, Row


def compose(base: str | Path, backbone: str, weights: str | Path | None = None) -> dict[str, Any]:
    """The base's config with another backbone, ready for `DetectionModel(...)` or to be dumped as YAML.

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
    detector = bases.find(base)
    name, _, tag = backbone.partition(".")
    kind = _kind(name)
    if kind is None:
        raise ValueError(catalogue.unknown(name))
    source = _source(name, tag, weights, kind)
    config = copy.deepcopy(dict(detector.config))
    rows = _family_rows(detector, name) if kind == "family" else _network_rows(detector, name, source)
    config["backbone"] = [*rows, *config["backbone"][detector.last + 1 :]]
    if config.get("scales") and detector.scale:
        # Alone, since Ultralytics takes the first of them where a file's name has no letter.
        config["scales"] = {detector.scale: config["scales"][detector.scale]}
    return config | {"scale": detector.scale, "yaml_file": f"{_joined(detector.name, backbone)}.yaml"}


def levels(config: dict[str, Any]) -> list[int | None]:
    """The stride of each backbone row's output in a composed config; None where a row gives none or several maps."""
    rows = config["backbone"]
    if rows[0][2] != "Network":
        return list(bases.run(config, config.get("scale", ""))[0])
    _, c2, options = rows[0][3]
    strides = options.get("strides", [2 ** (5 - i) for i in reversed(range(len(c2)))])
    found = [strides[row[3][0]] if row[2] == "FeatureMap" and strides != "last" else None for row in rows]
    end = max(i for i, row in enumerate(rows) if row[2] == "FeatureMap")
    strided = [i for i in range(end + 1, len(rows)) if rows[i][2] in {"Conv", "SCDown", "ADown"}]
    for i in range(end + 1, len(rows)):
        found[i] = None if found[end] is None else found[end] * 2 ** sum(j <= i for j in strided)
    return found


def resolve(path: Path) -> dict[str, Any] | None:
    """The composed config that a file's name means; None if it is no composed name.

    Args:
        path: `{base}{scale}-{backbone}[-{rest}].yaml`, in any folder.

    Raises:
        FileNotFoundError: it is one, but there is no such base.
        ValueError: it is one, but backbone and base do not fit, or it can be read in two ways.
    """
    if path.suffix not in configs.SUFFIXES or "-" not in path.stem:
        return None
    readings = list(_readings(path.stem))
    fitting = [(base, token) for base, token in readings if bases.known(base)]
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
        bases.find(backbones[0][0])  # says what is wrong with the base
    return None


def is_backbone(name: str) -> bool:
    """Whether a backbone is called that, with or without a tag."""
    return _kind(name.partition(".")[0]) is not None


def meant(path: Path) -> list[str]:
    """Composed names, without suffix, that a file's name is much like: those of known bases."""
    return [
        path.stem.replace(token, name)
        for base, token in _readings(path.stem)
        if bases.known(base)
        for name in catalogue.nearest(token.partition(".")[0])
    ]


def _readings(stem: str) -> Iterator[tuple[str, str]]:
    parts = stem.split("-")
    for i in range(1, len(parts)):
        yield "-".join(parts[:i] + parts[i + 1 :]), parts[i]


def _joined(base: str, backbone: str) -> str:
    """The name of a base with a backbone: yolov8n-seg, starnet -> yolov8n-starnet-seg."""
    parts = base.split("-")
    stem = 2 if parts[0] in {"yoloe", "rtdetr"} and len(parts) > 1 else 1
    return "-".join([*parts[:stem], backbone, *parts[stem:]])


def _kind(name: str) -> str | None:
    """What a backbone of that name is: "family", "own", "timm" or None."""
    if f"yolov8-{name}" in configs.models():
        return "family"
    if name in network.published():
        return "own"
    return "timm" if name in catalogue.entries() or in_timm(name) else None


def families() -> list[str]:
    """The names of the families, which every base's letter scales."""
    return [stem.partition("-")[2] for stem in configs.models()]


def _source(name: str, tag: str, weights: str | Path | None, kind: str) -> str | None:
    if not tag and weights is None:
        return None
    if tag and weights is not None:
        raise ValueError(f"{name}.{tag} asks for published weights, and weights={str(weights)!r} for others; give one")
    if kind == "family":
        asked = f"{name}.{tag}" if tag else f"weights={str(weights)!r}"
        sizes = [variant for variant in network.published() if variant.startswith(f"{name}_")]
        raise ValueError(
            f"{asked}: {name} is a family, scaled by the detector's letter, and has no published weights; "
            f"its published networks have: {', '.join(sizes) or 'see `yolo-backbones list --pretrained`'}"
        )
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"weights={str(weights)!r}: there is no such file")
        return str(path.resolve())
    from . import weights as loading

    known = loading.tags(name)
    if tag not in known:
        choice = " or ".join(f"{name}.{other}" for other in known)
        way_out = f"choose {choice}" if known else f"{name} without a tag is untrained"
        raise ValueError(f"{name} has no published weights with the tag {tag}; {way_out}")
    return tag


def _network_rows(base: Base, name: str, source: str | None) -> list[Row]:
    channels = _channels(name, "last" if base.classifies else tuple(base.taps))
    options: dict[str, Any] = {"strides": "last" if base.classifies else list(base.taps)}
    options |= {"weights": source} if source else {}
    return _around([-1, 1, "Network", [name, list(channels), options]], base, channels)


def _around(first: Row, base: Base, channels: Sequence[int]) -> list[Row]:
    """The row of a whole network, and behind it the rows where its maps leave."""
    taps = list(base.taps.values())
    if taps[0] == 0:
        raise ValueError(f"{base.name} cannot take another backbone: its head reads the first row; choose another base")
    rows: list[Row] = [first] + [[-1, 1, "nn.Identity", []] for _ in range(base.last)]
    for i, (row, c) in enumerate(zip(taps, channels)):
        rows[row] = [0, 1, "FeatureMap", [i, c]]
    if c != base.channels[base.last] and base.keeps_width and base.last - 1 not in taps:
        rows[-2:] = [rows[-1], [-1, 1, "Conv", [base.width(base.last), 1, 1]]]
    return rows


@functools.cache
def _channels(name: str, strides: tuple[int, ...] | Literal["last"]) -> tuple[int, ...]:
    import torch

    with torch.device("meta"), Shapes():
        if name in network.published():
            return network.OwnFeatures(name, strides).channels
        return TimmFeatures(name, strides).channels


@functools.cache
def _family(name: str) -> Base:
    file = configs.models()[f"yolov8-{name}"]
    return bases.find(file)


def _family_rows(base: Base, name: str) -> list[Row]:
    """A family's rows, at the widths that it has in YOLOv8 or at the base's, whichever is less, level by level."""
    family = _family(name)
    groups: list[list[Row]] = []
    start, narrowing = 0, 1.0
    ends = {4: max(i for i, s in enumerate(family.strides) if s == 4)} | dict(family.taps)
    group: list[Row] = []
    for stride, end in ends.items():
        widest = family.width(end)
        # A level that the head does not read has no width to keep to but that of the next one.
        tap = base.taps.get(stride, base.taps.get(8) if stride == 4 else None)
        if tap is not None:
            own = family.width(ends[8] if stride == 4 and stride not in base.taps else end)
            narrowing = min(1.0, base.width(tap) / own)
        elif base.classifies:
            narrowing = min(1.0, base.width(base.last) / family.width(family.last))
        rows = copy.deepcopy(family.config["backbone"][start : end + 1])
        for row in rows:
            if row[3]:
                row[3][0] = bases.scaled_channels(row[3][0], (1, narrowing, widest))
        group += rows
        start = end + 1
        if stride in base.taps:
            groups.append(group)
            group = []
    return _placed(groups, base, name)


def _placed(groups: list[list[Row]], base: Base, name: str) -> list[Row]:
    taps = list(base.taps.values())
    rooms = [end - start for start, end in zip([-1, *taps], taps)]
    needed = [sum(row[2] != "nn.Identity" for row in group) for group in groups]
    if any(more > room for more, room in zip(needed, rooms)):
        return _chain_rows(groups, base, name)
    rows: list[Row] = []
    for group, room in zip(groups, rooms):
        if len(group) > room:
            group = [row for row in group if row[2] != "nn.Identity"]
        rows += [[-1, 1, "nn.Identity", []] for _ in range(room - len(group))] + group
    return rows


def _chain_rows(groups: list[list[Row]], base: Base, name: str) -> list[Row]:
    """All of a family in the first row, for a base with fewer rows than its stages."""
    rows, taps, channels = [], [], []
    for group in groups:
        for _, n, block, args in group:
            if block == "nn.Identity":
                continue
            scaled = [bases.scaled_channels(args[0], base.scaling), *args[1:]]
            rows.append([bases.scaled_repeats(n, base.scaling), block, scaled])
        taps.append(len(rows) - 1)
        channels.append(rows[-1][2][0])
    return _around([-1, 1, "Network", [name, channels, {"rows": rows, "taps": taps}]], base, channels)
