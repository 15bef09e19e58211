"""Ultralytics' detectors, and the maps that their backbones pass to their heads.

The half of the seam to Ultralytics that only reads. It reads the configs of the installed release, and runs their rows
on torch's meta device, without weights or arithmetic.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn import tasks
from ultralytics.utils import ROOT

from . import model_files, names
from .layers.meta import import_before
from .messages import first_line, printable, shown

Row = list[Any]  # [from, repeats, module, args]

# Layers behind the last stage that widen its receptive field. They belong to the detector.
_CONTEXT = re.compile(r"SPP|PSA")

_PROBE = 256  # pixels; a multiple of every stride


@dataclass(frozen=True)
class Detector:
    """A detector whose backbone can be replaced.

    Attributes:
        name: as the user gave it, without suffix: "yolov8n-seg".
        scale: its letter, or "".
        config: the YAML's content.
        strides: of each backbone row's output; None where a row gives several maps.
        channels: of each backbone row's output, at this scale.
        taps: the rows that the head reads, by stride, finest first: `{8: 4, 16: 6, 32: 8}`. For stride 32 it is the
            last stage's last row, even if a layer such as SPPF stands between it and the head.
    """

    name: str
    scale: str
    config: Mapping[str, Any]
    strides: tuple[int | None, ...]
    channels: tuple[int, ...]
    taps: Mapping[int, int]

    @property
    def last(self) -> int:
        """The last stage's last row."""
        return max(self.taps.values())

    @property
    def classifies(self) -> bool:
        """True if its head takes only the last map, of any stride."""
        return bool(self.config["head"][-1][2] == "Classify")

    @property
    def keeps_width(self) -> bool:
        """True if the row behind the last stage needs as many channels as that stage has."""
        return "PSA" in (self.config["backbone"] + self.config["head"])[self.last + 1][2]

    @property
    def scaling(self) -> tuple[float, float, float]:
        """Depth, width and largest channel count at this scale."""
        return scaling(self.config, self.scale)

    def width(self, row: int) -> int:
        """Return the channels of a row's output as the YAML would give them, before scaling."""
        args = self.config["backbone"][row][3]
        given, scaled = args[0] if args else None, self.channels[row]
        if isinstance(given, int) and scaled_channels(given, self.scaling) == scaled:
            return given
        return round(scaled / self.scaling[1])


def scaling(config: Mapping[str, Any], scale: str) -> tuple[float, float, float]:
    """Return depth, width and largest channel count of a config at a scale; at its first if that is empty."""
    scales = config.get("scales")
    if not scales:
        multiples = (config.get(f"{name}_multiple", 1.0) for name in ("depth", "width"))
        return (*multiples, float("inf"))
    depth, width, most = scales[scale or next(iter(scales))]
    return depth, width, most


def scaled_channels(c: int, scaling: Sequence[float]) -> int:
    """Scale a row's channels as `parse_model` does."""
    _, width, most = scaling
    return int(tasks.make_divisible(min(c, most) * width, 8))


def scaled_repeats(n: int, scaling: Sequence[float]) -> int:
    """Scale a row's repeats as `parse_model` does."""
    return max(round(n * scaling[0]), 1) if n > 1 else n


@functools.cache
def configs() -> dict[str, Path]:
    """Return the model configs of Ultralytics itself, by stem."""
    return {file.stem: file for file in sorted((ROOT / "cfg" / "models").rglob("*.yaml"))}


def known(name: str) -> bool:
    """Tell whether Ultralytics has a config of that name, with or without a scale letter."""
    return _find_file(name) is not None


def _find_file(name: str) -> Path | None:
    return configs().get(name) or configs().get(names.without_scale(name))


def spelled_otherwise(typed: str) -> str | None:
    """Find the one detector of the YOLO series that a name spells otherwise: yolov11n, YOLO11-n, yolo11_n -> yolo11n.

    Returns:
        None for a name as it is, for one of no detector, and where several are right. RT-DETR is left out: the `yolo`
        command knows it by its name alone.
    """
    return None if known(typed) else _spellings().get(_spelling(typed))


@functools.cache
def _spellings() -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for stem in configs():
        if names.scaled(stem):
            for name in {stem, *(names.with_scale(stem, letter) for letter in names.SCALES)}:
                found.setdefault(_spelling(name), set()).add(name)
    return {spelling: next(iter(several)) for spelling, several in found.items() if len(several) == 1}


def _spelling(name: str) -> str:
    """Return what counts of a detector's name: neither case, nor separators, nor the v of its version."""
    return re.sub(r"^(yoloe?)v(?=\d)", r"\1", re.sub(r"[-_ ]", "", name.lower()))


def find(base: str | Path) -> Detector:
    """Find the detector of that name, with or without `.yaml` and scale letter; or read a YAML file of the user's own.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its backbone cannot be replaced; the message says why.
    """
    path = Path(base)
    name = names.stem_of(path)
    if path.suffix in names.SUFFIXES and path.is_file():
        return _read(name, path)
    file = _find_file(name)
    if file is None and path.suffix in names.SUFFIXES:
        unknown = f"Ultralytics has no model called {printable(name)}{_hint(name)}"
        raise FileNotFoundError(f"there is no file {printable(path)}, and {unknown}")
    if file is None:
        raise FileNotFoundError(f"Ultralytics has no model called {printable(name)}{_hint(name)}")
    return _find_shipped(name, file)


def _hint(name: str) -> str:
    """Say what to use in place of a base that does not exist."""
    meant = spelled_otherwise(name)
    if meant:
        return f"; did you mean {meant}?"
    stem = names.without_scale(name)
    parts = names.scaled(name)
    if parts and parts.plain in configs() and parts.letter not in names.SCALES:
        return f"; the scales of {parts.plain} are n, s, m, l and x, as in {parts.with_letter('n')}"
    family, _, task = stem.partition("-")
    kin = [known for known in configs() if known.split("-")[0] == family]
    if kin and task and len(kin) < 6:
        return f"; {family} comes as {', '.join(kin)}"
    near = names.nearest(stem, kin or list(configs()))
    return f"; did you mean {' or '.join(near)}?" if near else "; give one such as yolov8n, yolo11s-seg or rtdetr-l"


@functools.cache
def _find_shipped(name: str, file: Path) -> Detector:
    return _read(name, file)


def _read(name: str, file: Path) -> Detector:
    config = model_files.read(file)
    rows = config.get("backbone")
    if not isinstance(rows, list) or not rows or not isinstance(config.get("head"), list):
        raise ValueError(f"{file.name} is no model config with a backbone and a head of rows; use one such as yolov8n")
    if len(rows) < 2:
        raise ValueError(
            f"{name} cannot take another backbone: its own is the single row {rows[0][2]}, which leaves no row for the "
            "maps; use a base such as yolov8n or yolov8n-cls"
        )
    for row in rows + config["head"]:
        if not isinstance(row, list) or len(row) != 4:
            raise ValueError(f"{file.name} has the row {shown(row)}, where [from, repeats, block, [arguments]] belongs")
    scale = tasks.guess_model_scale(file.with_name(f"{name}.yaml"))
    if scale and scale not in (config.get("scales") or {scale: None}):
        raise ValueError(f"{name} has no scale {scale}; choose one of {', '.join(map(str, config['scales']))}")
    try:
        strides, channels = run(config, scale)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"Ultralytics cannot build {file.name}: {first_line(error)}") from error
    taps = _taps(config, strides)
    if not taps:
        raise ValueError(f"{name} cannot take another backbone: its head reads none of the maps at strides 4 to 32")
    return Detector(name, scale, config, strides, channels, taps)


def run(config: Mapping[str, Any], scale: str = "") -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Find strides and channels of each backbone row's output; None and 0 where a row gives several maps."""
    scales = config.get("scales") or {}
    rows = copy.deepcopy({**config, "head": [], "scale": scale or next(iter(scales), "")})
    import_before(row[2] for row in rows["backbone"] if isinstance(row[2], str))
    with torch.device("meta"), torch.no_grad():
        channels = config.get("channels", 3)
        layers, _ = tasks.parse_model(rows, channels, verbose=False)
        maps = outputs(layers.eval(), torch.empty(1, channels, _PROBE, _PROBE))
    single = [x if isinstance(x, torch.Tensor) else None for x in maps]
    strides = tuple(None if x is None else round(_PROBE / x.shape[-1]) for x in single)
    return strides, tuple(0 if x is None else x.shape[1] for x in single)


def outputs(layers: Iterable[Any], image: torch.Tensor) -> list[Any]:
    """Run a model's rows one after the other, each on what it reads, as Ultralytics does; return what each gives."""
    found: list[Any] = []
    for layer in layers:
        found.append(layer(inputs(layer, found) if found else image))
    return found


def inputs(layer: Any, found: Sequence[Any]) -> Any:
    """Return what a row reads of what the rows before it gave."""
    return found[layer.f] if isinstance(layer.f, int) else [found[j] for j in layer.f]


def _taps(config: Mapping[str, Any], strides: Sequence[int | None]) -> dict[int, int]:
    rows = config["backbone"]
    last = max((i for i, row in enumerate(rows) if strides[i] == 32 and not _CONTEXT.search(row[2])), default=None)
    if last is None:
        return {}
    read = set()
    for i, (source, *_) in enumerate(config["head"], len(rows)):
        read |= {j if j >= 0 else i + j for j in ([source] if isinstance(source, int) else source)}
    taps = {strides[i]: i for i in sorted(read) if i < last and strides[i] in {4, 8, 16}}
    return {stride: row for stride, row in taps.items() if stride is not None} | {32: last}
