"""Rows of blocks that forks have under the authors' class names, or under ours with other arguments."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ultralytics.nn import tasks

from .. import detectors, registry
from ..families import ForeignRow, families
from ..messages import shown
from .spelling import reads, shown_row
from .strides import come_out

_MOST_REPEATS = 100

Reader = Callable[..., ForeignRow]


def rewrite(config: dict[str, Any]) -> list[str]:
    """Rewrite forks' rows in place; return what was understood, each pair of blocks once.

    Raises:
        ValueError: a row's arguments mean nothing, or all rows of the file can be read in two ways.
    """
    readers: dict[str, Reader] = {}
    for family in families().values():
        readers |= family.foreign_rows
    foreign, doubtful = {}, {}
    for name, reader in readers.items():
        if name in registry.blocks():
            doubtful[name] = reader
        elif name not in vars(tasks):  # a fork that has the block keeps it
            foreign[name] = reader
    said = _rewrite(config, foreign)
    theirs = copy.deepcopy(config)
    try:
        seen = _rewrite(theirs, doubtful)
    except ValueError:  # it can only be read as this package's
        return said
    if seen and _rows(theirs) != _rows(config) and _are_theirs(config, theirs, doubtful):
        config.update({part: theirs[part] for part in ("backbone", "head")})
        said += seen
    return said


def _rows(config: Mapping[str, Any]) -> list[Any]:
    return [*config["backbone"], *config["head"]]


def _rewrite(config: dict[str, Any], readers: Mapping[str, Reader]) -> list[str]:
    said: dict[tuple[str, str], str] = {}
    count = len(config["backbone"])
    original = copy.deepcopy(_rows(config))
    for i, row in enumerate(original):
        if not (isinstance(row, list) and len(row) == 4 and isinstance(row[2], str) and row[2] in readers):
            continue
        _, n, name, args = row
        found = _read_row(i, name, args, readers[name])
        if found.keeps_channels:
            _check_kept(i, row, original)
        repeats = n if found.times == 1 else _repeats(i, row, found.times, config)
        part, j = ("backbone", i) if i < count else ("head", i - count)
        config[part][j] = [row[0], repeats, found.block, found.args]
        said.setdefault(
            (name, found.block), f'"{shown_row(name, args)}" as {shown_row(found.block, found.args)} (row {i})'
        )
    return list(said.values())


def _read_row(i: int, name: str, args: Any, reader: Reader) -> ForeignRow:
    row = f"row {i}: {shown_row(name, args)}"
    if not isinstance(args, list):
        raise ValueError(f"{row}: its arguments have to be a list")
    try:
        inspect.signature(reader).bind(*args)
    except TypeError as error:
        taken = ", ".join(
            p.name if p.default is p.empty else f"{p.name}={p.default}"
            for p in inspect.signature(reader).parameters.values()
        )
        raise ValueError(f"{row}: it takes [{taken}] ({error})") from None
    for value in args:
        if value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"{row}: {shown(value)} has to be a number")
    try:
        return reader(*args)
    except ValueError as error:
        raise ValueError(f"{row}: {error}") from None


def _check_kept(i: int, row: list[Any], listed: list[Any]) -> None:
    """Check that a stage has as many channels as the row that it reads, as far as that row says it."""
    numbers = [] if isinstance(row[0], list) else reads(i, row)
    before = next((listed[j] for j in numbers if 0 <= j < i), None)
    given = before[3][0] if isinstance(before, list) and len(before) == 4 and before[3] else None
    if type(given) is int and given != row[3][0]:
        raise ValueError(
            f"row {i}: {shown_row(row[2], row[3])} keeps its channels, and the row that it reads has {given}; write "
            f"{given}, or {row[3][0]} in that row"
        )


def _repeats(i: int, row: list[Any], times: Any, config: Mapping[str, Any]) -> int:
    """Find the repeats that `parse_model` scales to a number of blocks that forks scale only in part."""
    for name, value in (("repeats", row[1]), ("depth", times)):
        if type(value) is not int or not 1 <= value <= _MOST_REPEATS:
            raise ValueError(
                f"row {i}: {row[2]}: {name}={shown(value)} has to be a whole number from 1 to {_MOST_REPEATS}"
            )
    scaling = detectors.scaling(config, config.get("scale", ""))
    wanted = detectors.scaled_repeats(row[1], scaling) * times
    for n in sorted(range(1, _MOST_REPEATS + 1), key=lambda n: abs(n - wanted)):
        if detectors.scaled_repeats(n, scaling) == wanted:
            return n
    raise ValueError(
        f"row {i}: {shown_row(row[2], row[3])} has {wanted} blocks, to which the depth multiple {scaling[0]} scales no "
        "number of repeats; change one of the two"
    )


def _are_theirs(config: Mapping[str, Any], theirs: Mapping[str, Any], doubtful: Mapping[str, Reader]) -> bool:
    """Decide between two readings by the strides of the maps that the head gets.

    Raises:
        ValueError: both or neither come out.
    """
    fits = come_out(config)
    if fits and all(len(row[3]) < 3 for row in _rows(config) if row[2] in doubtful):
        return False  # as this package documents its rows, [c2, s]
    fit_theirs = come_out(theirs)
    i, row = next((i, row) for i, row in enumerate(_rows(config)) if row != _rows(theirs)[i])
    if fits is None and fit_theirs is None:
        return False  # there is another mistake in it, which the checks of rows tell
    if bool(fits) != bool(fit_theirs):
        return bool(fit_theirs)
    reader = inspect.signature(doubtful[row[2]]).parameters
    own = registry.blocks()[row[2]].arguments
    ways = [", ".join(f"{key}={value}" for key, value in zip(keys, row[3])) for keys in (own, reader)]
    verdict = "both give" if fits else "neither gives"
    raise ValueError(
        f"row {i}: {shown_row(row[2], row[3])} can be read as {ways[0]}, as in this package, or as {ways[1]}, as in "
        f"forks, and {verdict} maps at the strides of a detector; write the former with `dialect: own` in the file, or "
        "the latter as vanillanetBlock"
    )
