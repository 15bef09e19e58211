"""The layout of the rows that a whole network takes in a model's YAML: only this file writes and reads it.

    - [-1, 1, Network, [starnet_s1, [48, 96, 192], {strides: [8, 16, 32], weights: in1k}]]  # the image in, maps out
    - [0, 1, FeatureMap, [1, 96]]                                                           # one of the maps

With `width` or `depth` among the options it is the published network at other channels or with other numbers of blocks,
with `drop_path` at another rate of stochastic depth; with `frozen_bn: true` its BatchNorms stay as they are. `args` are
those of a network of the user's own.

Options are a mapping inside a row's arguments: `parse_model` evaluates arguments that are text, and a path is no
Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..detectors import Detector, Row
from ..layers import checks

NETWORK, FEATURE_MAP, IDENTITY = "Network", "FeatureMap", "nn.Identity"

# Key of a config, and its value where the rows are this package's also if forks have rows that look the same.
DIALECT, OWN = "dialect", "own"

_FROZEN_BN = "frozen_bn"
_OPTIONS = {"strides", "weights", "width", "depth", "drop_path", "args", _FROZEN_BN}

_STRIDED_LAYERS = {"Conv", "SCDown", "ADown"}  # layers behind a detector's backbone that make further maps


@dataclass(frozen=True)
class Whole:
    """A row that names a published network.

    Attributes:
        strides: of the maps wanted, or "last".
        weights: a tag, a path, or None.
        width: multiple of its channels.
        depth: multiple of its blocks in each stage.
        drop_path: stochastic depth's rate at its last block; None for the one it was published with.
        frozen_bn: true if its BatchNorms keep statistics, scale and shift.
        args: of a network of the user's own.
    """

    strides: tuple[int, ...] | Literal["last"]
    weights: str | None
    width: float = 1.0
    depth: float = 1.0
    drop_path: float | None = None
    frozen_bn: bool = False
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Chained:
    """A row that holds rows of blocks: [repeats, block, args] each, used as they are.

    Attributes:
        rows: one behind the other.
        taps: those whose maps are returned, in rising order.
    """

    rows: Sequence[Sequence[Any]]
    taps: Sequence[int]


# ---- written ----


def identity() -> Row:
    """Return a row that only keeps the numbers of the rows behind it."""
    return [-1, 1, IDENTITY, []]


def whole(name: str, channels: Sequence[int], layout: Whole) -> Row:
    """Return the row of a published network."""
    options: dict[str, Any] = {"strides": "last" if layout.strides == "last" else list(layout.strides)}
    options |= {"weights": layout.weights} if layout.weights else {}
    options |= {key: value for key, value in (("width", layout.width), ("depth", layout.depth)) if value != 1}
    options |= {} if layout.drop_path is None else {"drop_path": layout.drop_path}
    options |= {_FROZEN_BN: True} if layout.frozen_bn else {}
    options |= {"args": _as_lists(layout.args)} if layout.args else {}
    return [-1, 1, NETWORK, [name, list(channels), options]]


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value


def feature_map(index: int, channels: int) -> Row:
    """Return the row of one of the maps of a network in row 0."""
    return [0, 1, FEATURE_MAP, [index, channels]]


def freeze_batch_norms(listed: Sequence[Row], name: str) -> None:
    """Write into the row of a published network that its BatchNorms keep statistics, scale and shift.

    Raises:
        ValueError: there is no such row.
    """
    if listed[0][2] != NETWORK or "strides" not in listed[0][3][-1]:
        raise ValueError(
            f"{name} is a family, without published statistics that frozen_bn could keep; take a published network"
        )
    listed[0][3][-1][_FROZEN_BN] = True


def chained(name: str, channels: Sequence[int], rows: Sequence[Any], taps: Sequence[int]) -> Row:
    """Return the row of a chain of blocks."""
    return [-1, 1, NETWORK, [name, list(channels), {"rows": rows, "taps": taps}]]


def around(first: Row, detector: Detector) -> list[Row]:
    """Return the row of a whole network, and behind it the rows where its maps leave.

    Raises:
        ValueError: the detector leaves no room for it.
    """
    channels = first[3][1]
    taps = list(detector.taps.values())
    if taps[0] == 0:
        raise ValueError(
            f"{detector.name} cannot take another backbone: its head reads the first row; choose another base"
        )
    rows: list[Row] = [first] + [identity() for _ in range(detector.last)]
    for i, (row, c) in enumerate(zip(taps, channels)):
        rows[row] = feature_map(i, c)
    if c != detector.channels[detector.last] and detector.keeps_width and detector.last - 1 not in taps:
        rows[-2:] = [rows[-1], [-1, 1, "Conv", [detector.width(detector.last), 1, 1]]]
    return rows


# ---- read ----


def read(name: Any, c2: Any, options: Any) -> Whole | Chained:
    """Read the arguments of a `Network` row.

    Raises:
        ValueError: they are invalid; the message names the argument, its value and the rule.
    """
    if not isinstance(name, str):
        raise ValueError(f"Network: name={name!r} has to be a network's name, such as starnet_s1 or resnet18")
    if not isinstance(c2, Sequence) or isinstance(c2, str):
        raise ValueError(f"Network: c2={c2!r} has to be a list, the channels of each map")
    given = set(options) if isinstance(options, Mapping) else set()
    if given == {"rows", "taps"}:
        return Chained(options["rows"], options["taps"])
    if not {"strides"} <= given <= _OPTIONS:
        raise ValueError(
            f"Network: options={options!r} has to hold strides and perhaps weights, width, depth, drop_path and "
            "frozen_bn, or rows and taps, as in {strides: [8, 16, 32], weights: in1k}"
        )
    strides, weights = options["strides"], options.get("weights")
    if strides != "last" and not (isinstance(strides, Sequence) and all(type(stride) is int for stride in strides)):
        raise ValueError(f"Network: strides={strides!r} has to be a list such as [8, 16, 32], or last")
    if weights is not None and not (isinstance(weights, str) and weights):
        raise ValueError(f"Network: weights={weights!r} has to be a tag, such as in1k, or the path of a file")
    tag = name.partition(".")[2]
    if tag:
        raise ValueError(f"Network: name={name!r} has a tag, which belongs into the options, as weights: {tag}")
    factors = {key: options.get(key, 1.0) for key in ("width", "depth")}
    checks.positive("Network", **factors)
    checks.at_most("Network", **factors)
    drop_path, frozen_bn = options.get("drop_path"), options.get(_FROZEN_BN, False)
    if drop_path is not None:
        checks.probability("Network", drop_path=drop_path)
    checks.flag("Network", frozen_bn=frozen_bn)
    args = options.get("args", [])
    if not isinstance(args, Sequence) or isinstance(args, str):
        raise ValueError(f"Network: args={args!r} has to be a list, the arguments of a network of your own")
    wanted: tuple[int, ...] | Literal["last"] = "last" if strides == "last" else tuple(strides)
    return Whole(wanted, weights, **factors, drop_path=drop_path, frozen_bn=frozen_bn, args=tuple(args))


def forget_weights(config: Mapping[str, Any]) -> None:
    """Remove the request for weights from a config: what is built from it next has its own."""
    for row in _network_rows(config):
        row[3][-1].pop("weights", None)


def _network_rows(config: Mapping[str, Any]) -> Iterator[Row]:
    return (row for row in config.get("backbone", []) if row[2] == NETWORK)


def strides(config: Mapping[str, Any]) -> list[int | None] | None:
    """Return the stride of each backbone row's output, None for a row that gives none or several.

    Return just None for a config without a whole network.
    """
    rows = config["backbone"]
    if rows[0][2] != NETWORK:
        return None
    _, c2, options = rows[0][3]
    wanted = options.get("strides", [2 ** (5 - i) for i in reversed(range(len(c2)))])
    found = [wanted[row[3][0]] if row[2] == FEATURE_MAP and wanted != "last" else None for row in rows]
    end = max(i for i, row in enumerate(rows) if row[2] == FEATURE_MAP)
    strided = [i for i in range(end + 1, len(rows)) if rows[i][2] in _STRIDED_LAYERS]
    for i in range(end + 1, len(rows)):
        found[i] = None if found[end] is None else found[end] * 2 ** sum(j <= i for j in strided)
    return found
