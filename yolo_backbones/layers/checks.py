"""Checks of a YAML row's arguments. An error names the block, the argument, its value, the rule and the way out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

from torch import nn

from ..messages import shown

# They work in place where they can, since a new map takes more time than the arithmetic. So a block gives them no
# tensor that it or its caller still needs.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": functools.partial(nn.ReLU, inplace=True),
    "relu6": functools.partial(nn.ReLU6, inplace=True),
    "gelu": nn.GELU,
    "silu": functools.partial(nn.SiLU, inplace=True),
    "hardswish": functools.partial(nn.Hardswish, inplace=True),
}


# The largest values, beyond which a model hangs or asks for more memory than any machine has.
_MOST = {"n": 100, "M": 16, "k": 255, "s": 255, "act_num": 100}
_LARGEST = 1 << 16


def activation(block: str, name: object) -> nn.Module:
    """Return the activation of that name.

    Raises:
        ValueError: no activation has that name.
    """
    if not isinstance(name, str) or name.lower() not in ACTIVATIONS:
        raise ValueError(f"{block}: act={shown(name)} is no known activation; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name.lower()]()


def whole(block: str, least: int = 1, **values: object) -> None:
    """Check that each value is a whole number of at least `least`, and not absurdly large.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{block}: {name}={shown(value)} has to be a whole number, at least {least}")
        most = _MOST.get(name, _LARGEST)
        if value > most:
            raise ValueError(f"{block}: {name}={shown(value)} has to be a whole number, at most {most}")


def odd(block: str, **values: int) -> None:
    """Check that each value is an odd number, as the size of a kernel that keeps the image's size.

    Raises:
        ValueError: one is not.
    """
    whole(block, **values)
    for name, value in values.items():
        if value % 2 == 0:
            raise ValueError(f"{block}: {name}={value} has to be odd, or the output's size differs from the input's")


def positive(block: str, **values: object) -> None:
    """Check that each value is a number above 0.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{block}: {name}={shown(value)} has to be a number above 0")


def at_most(block: str, **values: float) -> None:
    """Check that each value, a number of channels, is not absurdly large.

    Raises:
        ValueError: one is.
    """
    for name, value in values.items():
        if value > _LARGEST:
            raise ValueError(f"{block}: {name}={shown(value)} has to be at most {_LARGEST}")


def share(block: str, c: int, c_name: str, **ratios: float) -> None:
    """Check that each ratio leaves at least one of `c` channels.

    Raises:
        ValueError: one is no number above 0, too small or too large.
    """
    positive(block, **ratios)
    for name, ratio in ratios.items():
        if c * ratio < 1:
            raise ValueError(
                f"{block}: {name}={shown(ratio)} leaves no channel of {c_name}={c}; raise it, or the width"
            )
        at_most(block, **{f"{c_name}*{name}": c * ratio})


def flag(block: str, **values: object) -> None:
    """Check that each value is True or False. In YAML, "no" in quotes is a text, which Python counts as true.

    Raises:
        ValueError: one is neither.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{block}: {name}={shown(value)} has to be True or False")


def convolution(block: str, c1: int, c2: int, k: int, s: int, bias: bool) -> None:
    """Check a row of one convolution that keeps the image's size but for its stride.

    Raises:
        ValueError: an argument breaks its rule.
    """
    whole(block, c1=c1, c2=c2, s=s)
    odd(block, k=k)
    flag(block, bias=bias)


def probability(block: str, **values: object) -> None:
    """Check that each value lies in [0, 1).

    Raises:
        ValueError: one does not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"{block}: {name}={shown(value)} has to be a number from 0 to below 1")


def divisible(block: str, by_name: str, by: int, **channels: int) -> None:
    """Check that each channel count is a multiple of `by`.

    Raises:
        ValueError: one is not.
    """
    for name, value in channels.items():
        if value % by:
            raise ValueError(
                f"{block}: {name}={value} is not divisible by {by_name}={by}; change the YAML row or the width multiple"
            )


def rates(block: str, drop_path: float | Iterable[float], n: int) -> list[float]:
    """Return stochastic depth's rate for each of `n` blocks, from one rate for all or a list of n.

    Raises:
        ValueError: a rate outside [0, 1), or a list of another length.
    """
    listed = list(drop_path) if isinstance(drop_path, Iterable) else [drop_path] * n
    if len(listed) != n:
        raise ValueError(
            f"{block}: drop_path={shown(drop_path)} has to be one rate, or a list of one for each of n={n} blocks"
        )
    for rate in listed:
        probability(block, drop_path=rate)
    return listed
