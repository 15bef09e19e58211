"""Blocks in rows: `parse_model` builds registered blocks.

`parse_model` reads a row by looking its class up in sets of built-ins (`m in base_modules`). A class that is
only put into its namespace gets no input channels, width or repeats. So an alias is put there, equal to the built-in
whose row contract the block shares. `parse_model` itself is not copied. Rows that it has no contract for are filled in
first (`row_channels`).

The package's own blocks are imported when a row first names something that Ultralytics does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from .. import registry, row_form
from ..messages import FAULTS
from . import block_names, c3k2_rows, dialect_rows, image_channels, model_names, row_channels, row_checks, row_errors
from .fine_tuning import FineTuning
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
    image_channels.install()
    model_names.checks_rows_by(_check)
    model_names.translates_by(translated)
    row_errors.checks_rows_by(check)


class RowContract(type):
    """Metaclass of the aliases: equal to the built-in whose row contract the block shares, and called in its place.

    `parse_model` finds an alias in its sets like the built-in, and fills in channels, width and repeats. Calling the
    alias builds the block.
    """

    block: registry.Block
    built_in: type | None

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.built_in

    def __hash__(cls) -> int:
        return hash(cls.built_in) if cls.built_in else type.__hash__(cls)

    def __call__(cls, *args: Any) -> nn.Module:
        """Build the block from what `parse_model` made of a row."""
        built = cls.block.build(*row_channels.arguments(cls.block, args))
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
    built_in = block.contract.built_in
    if built_in and built_in not in vars(tasks):
        reason = f"ultralytics.nn.tasks has no {built_in}, whose rows {block.name} shares"
        if not block.shipped:
            raise ValueError(f"register({block.name}, like={block.like!r}): {reason}; choose another contract")
        LOGGER.warning(f"yolo_backbones: {reason}; models without it work")
        return
    namespace = {"block": block, "built_in": vars(tasks)[built_in] if built_in else None, "__module__": __name__}
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
        d = translated(d) or d
        names = row_checks.block_names(d)
        if any(name not in vars(tasks) for name in names):
            load()
        _refuse_clash(d, names)
        FineTuning.of(d)
        if not row_errors.has_ours(d):
            try:
                return parse_model(d, *args, **kwargs)
            except FAULTS as error:
                block_names.explain(error, d)
                raise
        _check(d)
        parse_or_tell = functools.partial(row_errors.parsed, functools.partial(row_channels.parse, parse_model))
        row_checks.try_without_memory(parse_or_tell, d, args, kwargs)
        if c3k2_rows.present(d):
            with c3k2_rows.heads_of_yolo11():
                return parse_or_tell(c3k2_rows.with_c3k(d), *args, **kwargs)
        return parse_or_tell(d, *args, **kwargs)

    return parse


def _refuse_clash(config: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse a config of ours with a block whose name Ultralytics has for another class.

    Raises:
        ValueError: it is one.
    """
    clashing = sorted(_taken_names.keys() & set(names))
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
    from ..layers import channels  # noqa: F401  # as above

    families()


def translated(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a config in this package's rows; see `dialect_rows.translated`."""
    return dialect_rows.translated(config, load)


def check(config: Mapping[str, Any]) -> None:
    """Find the mistakes in a config that could not be built, once its rows are this package's; see `row_checks.check`.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: any other mistake.
    """
    _check(translated(config) or config)
    row_form.check_all_parts(config)


def _check(config: Mapping[str, Any]) -> None:
    _refuse_clash(config, row_checks.block_names(config))
    row_checks.check(config, load, _taken_names)
