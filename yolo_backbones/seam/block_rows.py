"""Blocks in rows: `parse_model` builds registered blocks, and mistakes in rows are reported before it runs.

`parse_model` reads a row by looking its class up in sets of built-ins (`m in base_modules`). A class that is
only put into its namespace gets no input channels, width or repeats. So an alias is put there, equal to the built-in
whose row contract the block shares. `parse_model` itself is not copied.

The package's own blocks are imported when a row first names something that Ultralytics does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from .. import names, registry
from . import model_names
from .wrapping import Function, wrap

# Names of our blocks that Ultralytics has given to classes of its own, and the modules of those.
_taken_names: dict[str, str] = {}


def install() -> None:
    """Have `parse_model` know the registered blocks."""
    registry.subscribe(expose)
    if "parse_model" in vars(tasks):
        wrap(tasks, "parse_model", _wrap_parse_model)
    else:  # a release that renamed it: no later call can load the blocks
        load()
    vars(tasks).setdefault("__getattr__", _serve_block)
    model_names.checks_rows_by(check)


class RowContract(type):
    """Metaclass of the aliases: equal to the built-in whose row contract the block shares, and called in its place.

    `parse_model` finds an alias in its sets like the built-in, and fills in channels, width and repeats. Calling the
    alias builds the block.
    """

    block: registry.Block
    built_in: type

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.built_in

    def __hash__(cls) -> int:
        return hash(cls.built_in)

    def __call__(cls, *args: Any) -> nn.Module:
        """Build the block from what `parse_model` made of a row."""
        built = cls.block.build(*args)
        if getattr(built, "detects", False):
            # Ultralytics finds a detector's strides by a run on an empty image, which older releases (8.2, 8.3.0) do in
            # training mode: it would spoil the statistics of published weights. `initialisation` comes after it.
            built.eval()
        return built

    def __repr__(cls) -> str:  # parse_model prints it
        return repr(cls.block.cls)


def expose(block: registry.Block) -> None:
    """Put a block's alias among the names that model YAMLs may use.

    Where Ultralytics, or a fork of it, has a class of that name, rows keep getting that class. Only this one block is
    lost.

    Raises:
        ValueError: the block is the user's own, and its name is taken.
    """
    taken = vars(tasks).get(block.name)
    if taken is not None and not isinstance(taken, RowContract):
        where = getattr(taken, "__module__", tasks.__name__)
        if not block.shipped:
            raise ValueError(
                f"register({block.name}, like={block.like!r}): Ultralytics has a {block.name} of its own ({where}); "
                "rename the class"
            )
        if block.name not in _taken_names:
            LOGGER.warning(
                f"yolo_backbones: this Ultralytics has a {block.name} of its own ({where}), which rows of that name "
                "get; models of ours that need ours are refused, all others work"
            )
        _taken_names[block.name] = where
        return
    if block.like not in vars(tasks):
        reason = f"ultralytics.nn.tasks has no {block.like}, whose rows {block.name} shares"
        if not block.shipped:
            raise ValueError(f"register({block.name}, like={block.like!r}): {reason}; choose another contract")
        LOGGER.warning(f"yolo_backbones: {reason}; models without it work")
        return
    namespace = {"block": block, "built_in": getattr(tasks, block.like), "__module__": __name__}
    setattr(tasks, block.name, RowContract(block.name, (nn.Module,), namespace))


def _serve_block(name: str) -> Any:
    """Serve `ultralytics.nn.tasks.StarStage` before any row has named a block of ours (PEP 562)."""
    if not name.startswith("_"):
        load()
        if name in vars(tasks):
            return vars(tasks)[name]
    raise AttributeError(f"module {tasks.__name__!r} has no attribute {name!r}")


def _wrap_parse_model(parse_model: Function) -> Function:
    def parse(d: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        _import_blocks_of(d)
        return parse_model(d, *args, **kwargs)

    return parse


def _import_blocks_of(config: Mapping[str, Any]) -> None:
    """Import the package's blocks if a config has rows that Ultralytics does not know.

    Raises:
        ValueError: the config is one of ours, and Ultralytics has another class under a block's name.
    """
    used = set(_block_names(config))
    if any(name not in vars(tasks) for name in used):
        load()
    clashing = sorted(used & _taken_names.keys())
    if clashing and model_names.is_ours(Path(str(config.get("yaml_file", "")))):
        block = clashing[0]
        raise ValueError(
            f"{config['yaml_file']} needs the block {block}, and this Ultralytics has one of its own under that name "
            f"({_taken_names[block]}); use an Ultralytics without it"
        )


def load() -> None:
    """Import the package's own blocks, which registers them."""
    from ..backbones import network  # noqa: F401  # here, since most processes name no block of ours
    from ..families import families

    families()


def _block_names(config: Mapping[str, Any]) -> list[str]:
    """List the names of blocks in a config's rows, except torch's own."""
    rows = [row for part in ("backbone", "head") if isinstance(config.get(part), list) for row in config[part]]
    found = [row[2] for row in rows if isinstance(row, list) and len(row) == 4]
    return [name for name in found if isinstance(name, str) and "." not in name]


def check(config: Mapping[str, Any]) -> None:
    """Find the mistakes in rows at which `parse_model` would fail before it builds the block.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: a block is unknown, but its name is much like one of ours; the backbone is no list of rows; there is
            no such scale; or a family's option in the YAML is invalid.
    """
    backbone, scales = config.get("backbone", []), config.get("scales")
    if config.get("scale") and scales and config["scale"] not in scales:
        raise ValueError(
            f"{config['yaml_file']} asks for scale {config['scale']}, and the file has {', '.join(scales)}; "
            "name it with one of these, or with none"
        )
    if not isinstance(backbone, list):
        raise ValueError(_wrong_backbone_message(backbone))
    _import_blocks_of(config)
    known = registry.blocks()
    if any(name in known and known[name].shipped for name in _block_names(config)):
        _check_options(config)
    for row in [*backbone, *config.get("head", [])]:
        if not isinstance(row, list) or len(row) != 4:
            continue  # parse_model reports it
        _, n, name, args = row
        if name in known and name not in _taken_names:
            if n != 1 and not getattr(known[name].cls, "repeatable", True):
                raise ValueError(
                    f"{name}: the YAML row repeats it {n} times, and it can stand there only once; write 1"
                )
            known[name].check_row(args)
        elif isinstance(name, str) and "." not in name and name not in vars(tasks):
            near = names.nearest(name, list(known))
            if near:
                raise ValueError(f"the model's YAML names a block {name}, which is unknown; did you mean {near[0]}?")


def _check_options(config: Mapping[str, Any]) -> None:
    from ..families import families  # here, since rows without a block of ours need none

    for family in families().values():
        if family.training is not None:
            family.training.check(config)


def _wrong_backbone_message(backbone: Any) -> str:
    """Say what to write in place of `backbone: {type: ...}` or `backbone: path.py`, which some forks read."""
    from .. import catalogue  # here, since few write so

    asked = backbone.get("type") or backbone.get("name") if isinstance(backbone, dict) else backbone
    near = catalogue.nearest(Path(str(asked)).stem)
    name = near[0] if near else "starnet_s1"
    return (
        f"the model's YAML says backbone: {backbone}, which Ultralytics does not read; train "
        f"model=yolov8n-{name}.yaml, or have the rows written with `yolo-backbones new yolov8n {name}`"
    )
