"""The form of a row: what `parse_model` takes for granted in each, whatever its block."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from . import detectors, registry
from .messages import shown

LARGEST = 1 << 16
_MOST_REPEATS = 100
_LONGEST_NAME = 100


def check_all(config: Mapping[str, Any]) -> None:
    """Check every row of a config whose scales are in order; see `check`.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: any other mistake.
    """
    depth, *_ = detectors.scaling(config, config.get("scale", ""))
    for i, row in enumerate([*config["backbone"], *config["head"]]):
        check(i, row, depth)


def check(i: int, row: Any, depth: float) -> None:
    """Check a row of any block by the rules that `parse_model` assumes.

    Args:
        i: number of the row.
        row: the row.
        depth: multiple of its repeats.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: any other mistake.
    """
    check_parts(i, row)
    source, n, name, args = row
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"row {i}: block={shown(name)} is longer than any block's name")
    wanted = source if isinstance(source, list) and source else [source]
    for j in wanted:
        if isinstance(j, bool) or not isinstance(j, int) or not (-max(i, 1) <= j < i):
            rule = f"a row's number from 0 to {i - 1}, or from -1 to {-i}" if i else "-1, the image"
            raise ValueError(f"row {i}: {name}: from={shown(source)} has to be {rule}, or a list of such")
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MOST_REPEATS:
        raise ValueError(f"row {i}: {name}: repeats={shown(n)} has to be a whole number from 1 to {_MOST_REPEATS}")
    if n > 1 and n * depth > _MOST_REPEATS:
        raise ValueError(
            f"row {i}: {name}: repeats={n} at the depth multiple {depth:g} is more than {_MOST_REPEATS}; lower one"
        )
    if not isinstance(args, list):
        if name in registry.blocks():
            check_arguments(i, registry.blocks()[name], args)
        raise TypeError(f"row {i}: {name}: the YAML row gives {shown(args)} where a list of arguments belongs")
    for value, argument in zip(args, _argument_names(name, len(args))):
        if not all(abs(number) <= LARGEST for number in numbers(value)):
            raise ValueError(f"row {i}: {name}: {argument}{shown(value)} has to be at most {LARGEST}")
        if isinstance(value, str):
            _check_text(i, name, argument, value)


def rows(config: Mapping[str, Any]) -> list[Any]:
    """List a config's rows, whatever stands there."""
    parts = (config.get(part) for part in ("backbone", "head"))
    return [row for part in parts if isinstance(part, list) for row in part]


def check_all_parts(config: Mapping[str, Any]) -> None:
    """Check every row of a config that could not be built; see `check_parts`.

    Raises:
        ValueError: one has other parts.
    """
    for i, row in enumerate(rows(config)):
        # Not from a YAML, but `parse_model` takes it: something else was wrong.
        check_parts(i, list(row) if isinstance(row, tuple) else row)


def check_parts(i: int, row: Any) -> None:
    """Check that a row has four parts, and a block's name among them: no model has another, ours or not.

    Raises:
        ValueError: it has not.
    """
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError(f"row {i} is {shown(row)}, where [from, repeats, block, [arguments]] belongs")
    if not isinstance(row[2], str):
        raise ValueError(f"row {i}: block={shown(row[2])} has to be a block's name")


def _argument_names(name: str, count: int) -> list[str]:
    """Return how to name each argument of a row in a message: "c2=", or "argument 2: " of another's block."""
    block = registry.blocks().get(name)
    known = [f"{argument}=" for argument in block.arguments] if block else []
    return [*known, *(f"argument {k + 1}: " for k in range(len(known), count))]


def _check_text(i: int, name: str, argument: str, text: str) -> None:
    """Check that `parse_model` can read an argument that is text: as a name, or as a Python literal."""
    try:
        ast.literal_eval(text)
    except ValueError:  # a name, which stays text
        return
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(
            f"row {i}: {name}: {argument}{shown(text)} is neither a word, such as relu, nor a number or a list"
        ) from None


def check_arguments(i: int, block: registry.Block, args: Any) -> None:
    """Check the number of arguments in a row of a registered block.

    Raises:
        TypeError: too few or too many, or no list.
    """
    try:
        block.check_row(args)
    except TypeError as error:
        raise TypeError(f"row {i}: {error}") from None


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in an argument."""
    return (item for item in leaves(value) if isinstance(item, (int, float)))


def leaves(value: Any) -> Iterator[Any]:
    """Yield what stands in lists of lists; a list that stands there several times (YAML's anchors) counts once."""
    todo, seen = [value], set()
    while todo:
        item = todo.pop()
        if not isinstance(item, list):
            yield item
        elif id(item) not in seen:
            seen.add(id(item))
            todo += item
