"""Rows that stand for a whole network.

- One row that counts as five: `[-1, 1, starnet_s1, []]` is rows 0 to 4 of its file. Row 0 is the map at stride 2, which
  few of these networks have, and rows 1 to 4 are those at strides 4, 8, 16 and 32; the row behind it is row 5.
- `TimmBackbone` with `FeatureSelect` rows behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import catalogue, names, registry
from ..backbones import find, is_backbone, is_of_this_package, rows
from ..backbones.published import PublishedBackbone, is_path
from ..messages import shown
from .spelling import is_row, plain, reads, shown_row

TIMM_BACKBONE, FEATURE_SELECT = "TimmBackbone", "FeatureSelect"
STRIDES = (4, 8, 16, 32)
_COUNTS_AS = 1 + len(STRIDES)
# No factor in a tutorial is larger; a larger number is something else, channels for example.
_MOST = 8


def rewrite(config: dict[str, Any]) -> list[str]:
    """Rewrite the rows of a whole network in place; return what was understood.

    Raises:
        ValueError: the row's arguments mean nothing, or the network cannot give what the head reads.
    """
    backbone = config["backbone"]
    if not backbone or not is_row(backbone[0]):
        return []
    block = backbone[0][2]
    if block == TIMM_BACKBONE:
        return [_rewrite_timm_backbone(config)]
    named = _network_named(block)
    return [_rewrite_one_as_five(config, *named)] if named else []


def _network_named(block: str) -> tuple[PublishedBackbone, str] | None:
    """Find the network that a block's name means, and the tag behind it; None if it means none."""
    block_here = registry.blocks().get(block)
    if block_here is not None and not block_here.contract.whole:
        return None  # before timm is asked, whose import takes a second and 190 MB
    found = None if is_of_this_package(block) else catalogue.meaning(block)
    name, tag = names.split_tag(found.name if found else block)
    backbone = find(name) if is_backbone(name) else None
    return (backbone, tag) if isinstance(backbone, PublishedBackbone) else None


# ---- one row as five ----


def _rewrite_one_as_five(config: dict[str, Any], backbone: PublishedBackbone, tag: str) -> str:
    source, n, block, args = config["backbone"][0]
    where = f"row 0: {shown_row(block, args)}"
    if source != -1 or n != 1:
        raise ValueError(f"{where} reads row {shown(source)} {shown(n)} times; a network reads the image, once: -1, 1")
    backbone, weights = _asked_for(where, backbone, tag, args)
    behind = config["backbone"][1:]
    needed = _rows_read([*[None] * _COUNTS_AS, *behind, *config["head"]])
    if 0 in needed:
        raise ValueError(
            f"{where} counts as five rows, 0 to 4, of which the first is the map at stride 2, and a later row reads "
            "row 0; read rows 1 to 4, which are the maps at strides 4 to 32"
        )
    own = {map.stride for map in backbone.maps()}
    # A map that the network has not itself is only made where it is read.
    strides = [stride for i, stride in enumerate(STRIDES, 1) if stride in own or i in needed]
    network = _network_row(where, backbone, strides, weights)
    channels = network[3][1]
    taken = [
        rows.feature_map(strides.index(stride), channels[strides.index(stride)])
        if stride in strides
        else rows.identity()
        for stride in STRIDES
    ]
    config["backbone"] = [network, *taken, *behind]
    return f'"{shown_row(block, args)}" as five rows, {shown_row(network[2], network[3])} and its maps'


def _rows_read(listed: Sequence[Any]) -> set[int]:
    """Return the numbers of the rows that others read."""
    return {j for i, row in enumerate(listed) if is_row(row) for j in reads(i, row)}


def _asked_for(
    where: str, backbone: PublishedBackbone, tag: str, args: Sequence[Any]
) -> tuple[PublishedBackbone, str | None]:
    """Return the network at the size that a row asks for, and its weights."""
    if backbone.takes_arguments:
        return backbone.with_arguments(args), None
    pretrained, depth, width = _read_arguments(where, args)
    if (width, depth) != (1, 1):
        try:
            backbone = backbone.scaled(width, depth)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if pretrained is None:
        pretrained = bool(tag)
    try:
        return backbone, _weights(backbone, tag, pretrained)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{where}: {error}") from None


def _read_arguments(where: str, args: Sequence[Any]) -> tuple[bool | str | None, float, float]:
    """Return pretrained, depth and width of `[pretrained]`, `[pretrained, file]`, `[width]` or `[depth, width]`."""
    pretrained: bool | str | None = None
    factors: list[float] = []
    for value in map(plain, args):
        if isinstance(value, bool):
            pretrained = value
        elif value in (None, ""):
            pretrained = pretrained or False
        elif isinstance(value, str) and is_path(value):
            # `timm.create_model(pretrained_cfg_overlay={"file": ...})`, which needs pretrained as well.
            pretrained = value if pretrained is not False else False
        elif isinstance(value, (int, float)) and 0 < value <= _MOST:
            factors.append(value)
        else:
            factors += [0, 0, 0]
    if len(factors) > 2:
        raise ValueError(
            f"{where} cannot be understood; a network that counts as five rows takes [] or [pretrained], [width] or "
            "[depth, width], such as [True], [0.25] or [0.5, 0.25]"
        )
    depth, width = [1.0, 1.0, *factors][-2:] if len(factors) < 2 else factors
    return pretrained, depth, width


def _weights(backbone: PublishedBackbone, tag: str, pretrained: bool | str) -> str | None:
    if not pretrained:
        return None
    if isinstance(pretrained, str):
        return backbone.source("", Path(pretrained))
    if (backbone.width, backbone.depth) != (1, 1):
        raise ValueError("no weights are published for another width or depth; leave one of the two out")
    if not tag and not backbone.tags():
        raise ValueError(f"no weights are published for {backbone.name}; write [] to train it from scratch")
    return backbone.source(tag or backbone.tags()[0], None)


def _network_row(where: str, backbone: PublishedBackbone, strides: Sequence[int], weights: str | None) -> list[Any]:
    try:
        return backbone.row(strides, weights)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


# ---- TimmBackbone and FeatureSelect ----


def _rewrite_timm_backbone(config: dict[str, Any]) -> str:
    """Rewrite `TimmBackbone [name, pretrained]` and the `FeatureSelect [i]` rows that take its maps.

    Without a list of maps behind these, it returns as many as are selected, the last of which has stride 32: with
    three selects, those at strides 8, 16 and 32.
    """
    _, _, block, args = config["backbone"][0]
    where = f"row 0: {shown_row(block, args)}"
    name = args[0] if args else None
    named = _network_named(name) if isinstance(name, str) else None
    if named is None:
        reason = _reason(name) if isinstance(name, str) else "its first argument has to be the name of a network"
        raise ValueError(f"{where}: {reason}")
    backbone, weights = _asked_for(where, *named, [value for value in args[1:] if not isinstance(value, list)])
    selects = dict(_selects(config))
    if not selects:
        raise ValueError(f"{where} needs rows that take its maps behind it: [0, 1, {FEATURE_SELECT}, [0]]")
    most = max(selects.values())
    outputs = next((value for value in args[1:] if isinstance(value, list)), None)
    strides = _given_strides(where, backbone, outputs) if outputs else [32 >> i for i in reversed(range(most + 1))]
    if most >= len(strides) or strides[0] < 2:
        raise ValueError(f"{where} has {min(len(strides), 5)} maps, and a {FEATURE_SELECT} row takes map {most}")
    network = _network_row(where, backbone, strides, weights)
    config["backbone"][0] = network
    everything = [config["backbone"], config["head"]]
    count = len(config["backbone"])
    for i, index in selects.items():
        everything[i >= count][i - count * (i >= count)] = rows.feature_map(index, network[3][1][index])
    return (
        f'"{shown_row(block, args)}" as {shown_row(network[2], network[3])} and {FEATURE_SELECT} as {rows.FEATURE_MAP}'
    )


def _reason(name: str) -> str:
    try:
        find(names.split_tag(name)[0])
    except ValueError as error:
        return str(error)
    return f"{name} is a family, scaled by the detector's letter; take one of its published networks"


def _selects(config: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield number and index of each `FeatureSelect` row."""
    for i, row in enumerate([*config["backbone"], *config["head"]]):
        if is_row(row) and row[2] == FEATURE_SELECT:
            args = row[3]
            if (
                isinstance(row[0], list)
                or reads(i, row) != [0]
                or len(args) != 1
                or type(args[0]) is not int
                or args[0] < 0
            ):
                raise ValueError(
                    f"row {i}: {shown_row(row[2], args)} from {shown(row[0])} has to take one map of row 0: "
                    f"[0, 1, {FEATURE_SELECT}, [0]]"
                )
            yield i, args[0]


def _given_strides(where: str, backbone: PublishedBackbone, outputs: Sequence[Any]) -> list[int]:
    own = [map.stride for map in backbone.maps()]
    found = [own[i] if type(i) is int and -len(own) <= i < len(own) else None for i in outputs]
    strides = [stride for stride in found if stride is not None]
    if len(strides) < len(found):
        raise ValueError(f"{where} asks for maps {shown(list(outputs))}, and {backbone.name} has 0 to {len(own) - 1}")
    return strides
