"""Mistakes in a model's YAML, found before `parse_model` runs: each is told with its row, argument, value and rule.

Configs without any block of this package are left to Ultralytics.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn import tasks

from .. import detectors, registry, row_form
from ..layers.meta import Shapes, import_before
from ..messages import shown
from .block_names import check_block_name

# From these on a config is first built without memory, and its parameters are counted.
_MANY_REPEATS, _LARGE, _WIDE = 30, 4096, 4
_MOST_PARAMETERS = 1 << 31  # in a row that is no published network; 8 GB
_NETWORK = "Network"
# Ultralytics evaluates it as Python: a layer of torch.nn with plain numbers, and no call inside.
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.(\w+)\([\w\s=.,+-]*\)")


def check(config: Mapping[str, Any], load: Callable[[], None], taken: Mapping[str, str]) -> None:
    """Find the mistakes in a config at which `parse_model` would fail, hang or fill the memory.

    Args:
        config: as Ultralytics reads it from a YAML, with `scale` and `yaml_file`.
        load: imports the package's blocks.
        taken: blocks whose names belong to classes of Ultralytics'.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: any other mistake.
    """
    backbone = config.get("backbone", [])
    if not isinstance(backbone, list):
        raise ValueError(_wrong_backbone_message(backbone))
    if not {"backbone", "head"} <= config.keys():
        load()
        if any(isinstance(leaf, str) and leaf in registry.blocks() for leaf in row_form.leaves(list(config.values()))):
            missing = "backbone" if "backbone" not in config else "head"
            raise ValueError(f"{config.get('yaml_file', 'the config')} has no {missing}: {missing} is a list of rows")
        return
    if any(name not in vars(tasks) for name in block_names(config)):
        load()
    known = registry.blocks()
    ours = {name for name in block_names(config) if name in known and name not in taken}
    depth = 1.0
    if ours:
        check_numbers(config)
        depth, *_ = detectors.scaling(config, config.get("scale", ""))
    else:
        _check_scale(config)
    if any(known[name].shipped for name in ours):
        _check_options(config)
    for i, row in enumerate(row_form.rows(config) if ours else []):
        row_form.check(i, row, depth)
        if isinstance(row[2], str) and row[2] in ours:
            _check_own_row(i, row)
        else:
            check_block_name(i, row[2])


def block_names(config: Mapping[str, Any]) -> list[str]:
    """List the names of blocks in a config's rows, except torch's own."""
    return [name for name in all_block_names(config) if "." not in name]


def all_block_names(config: Mapping[str, Any]) -> list[str]:
    """List the names of blocks in a config's rows."""
    found = [row[2] for row in row_form.rows(config) if isinstance(row, list) and len(row) == 4]
    return [name for name in found if isinstance(name, str)]


def try_without_memory(
    parse_model: Callable[..., Any], config: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Build a config with large numbers on the meta device first, and count its parameters.

    Raises:
        ValueError: a row has more than any detector.
    """
    if not _asks_for_much(config):
        return
    import_before(block_names(config))
    with torch.device("meta"), torch.no_grad(), Shapes():
        layers, _ = parse_model(copy.deepcopy(dict(config)), *args, **{**kwargs, "verbose": False})
    for i, (layer, row) in enumerate(zip(layers, row_form.rows(config))):
        count = sum(parameter.numel() for parameter in layer.parameters())
        if count > _MOST_PARAMETERS and row[2] != _NETWORK:
            raise ValueError(
                f"row {i}: {row[2]}: {shown(row[3])}, repeated {row[1]} times, makes {count:.2g} parameters; a row may "
                f"have {_MOST_PARAMETERS:.2g}"
            )


def _asks_for_much(config: Mapping[str, Any]) -> bool:
    scales = config.get("scales")
    widths = (
        [scale[1] for scale in scales.values()] if isinstance(scales, Mapping) else [config.get("width_multiple", 1)]
    )
    return any(width > _WIDE for width in widths) or any(
        row[1] > _MANY_REPEATS or any(abs(value) > _LARGE for value in row_form.numbers(row[3]))
        for row in row_form.rows(config)
    )


def check_numbers(config: Mapping[str, Any]) -> None:
    """Check what stands beside the rows.

    Raises:
        ValueError: a value breaks its rule.
    """
    for part in ("backbone", "head"):
        if not isinstance(config.get(part), list) or (part == "backbone" and not config[part]):
            raise ValueError(f"the model's YAML has {part}: {shown(config.get(part))}, where a list of rows belongs")
    for key in ("nc", "ch", "channels"):
        value = config.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= row_form.LARGEST:
            raise ValueError(f"the model's YAML has {key}: {shown(value)}, where a whole number from 1 on belongs")
    act = config.get("activation")
    match = _ACTIVATION.fullmatch(act) if isinstance(act, str) else None
    if act and not (match and hasattr(torch.nn, match[1])):
        raise ValueError(f"the model's YAML has activation: {shown(act)}, where a layer such as nn.ReLU() belongs")
    scales = config.get("scales")
    if scales is None:
        scales = {"": [config.get("depth_multiple", 1.0), config.get("width_multiple", 1.0), 1024]}
    if not isinstance(scales, Mapping):
        raise ValueError(
            f"the model's YAML has scales: {shown(scales)}, where {{n: [depth, width, most channels]}} belongs"
        )
    for letter, scale in scales.items():
        if not (isinstance(scale, list) and len(scale) == 3 and all(map(_is_scale, scale))):
            raise ValueError(
                f"the model's YAML has the scale {shown(letter)}: {shown(scale)}, where three numbers above 0 belong: "
                "depth, width, most channels"
            )
    _check_scale(config)


def _check_scale(config: Mapping[str, Any]) -> None:
    """Check that the letter in a file's name is one of its scales'."""
    scale, scales = config.get("scale"), config.get("scales")
    if scale and isinstance(scales, Mapping) and scales and scale not in scales:
        raise ValueError(
            f"{config.get('yaml_file', 'the config')} asks for scale {scale}, and the file has "
            f"{', '.join(map(str, scales))}; name it with one of these, or with none"
        )


def _is_scale(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value < math.inf


def _check_own_row(i: int, row: list[Any]) -> None:
    """Check a row of a block that is registered here, by its contract."""
    source, n, name, args = row
    block = registry.blocks()[name]
    if block.contract.whole:
        raise ValueError(f"row {i}: {name} is a whole network, which belongs into row 0: [-1, 1, {name}, [...]]")
    several = block.contract.several
    if several != isinstance(source, list):
        rule = "a list of rows, such as [-1, 6], whose maps it reads" if several else "one row: it reads a single map"
        raise ValueError(f"row {i}: {name}: from={shown(source)} has to be {rule}")
    if n != 1 and (several or not getattr(block.cls, "repeatable", True)):
        raise ValueError(
            f"row {i}: {name}: the YAML row repeats it {n} times, and it can stand there only once; write 1"
        )
    row_form.check_arguments(i, block, args)
    if block.contract.row == ("c2",) and (not _is_channels(args[0]) or (several and args[0] == "nc")):
        raise ValueError(f"row {i}: {name}: c2={shown(args[0])} has to be a whole number, the channels of its output")


def _is_channels(value: Any) -> bool:
    return value == "nc" or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _check_options(config: Mapping[str, Any]) -> None:
    from ..families import families  # here, since rows without a block of ours need none

    for family in families().values():
        if family.training is not None:
            family.training.check(config)


def _wrong_backbone_message(backbone: Any) -> str:
    """Say what to write in place of `backbone: {type: ...}` or `backbone: path.py`, which some forks read."""
    from .. import catalogue  # here, since few write so

    said = backbone if isinstance(backbone, str) and len(backbone) < 80 else shown(backbone)
    asked = backbone.get("type") or backbone.get("name") if isinstance(backbone, dict) else backbone
    near = catalogue.nearest(Path(str(asked)).stem)
    name = near[0] if near else "starnet_s1"
    return (
        f"the model's YAML says backbone: {said}, which Ultralytics does not read; train "
        f"model=yolov8n-{name}.yaml, or have the rows written with `yolo-backbones new yolov8n {name}`"
    )
