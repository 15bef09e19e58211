"""Measurements: a row for each model and backend, kept in a file that a later run goes on from."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import io
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import configs
from . import hardware
from .race import Lane
from .settings import Settings


@dataclass
class Row:
    """One model on one backend. None and "" stand for what was not measured.

    Attributes:
        model: its name, as it was given.
        backend: `torch`, `onnx` or `openvino`.
        hardware: the processor or GPU.
        parameters: number of parameters of the fused model.
        gflops: GFLOPs of the fused model for one image.
        before_fuse_ms: median time of the model before `fuse()`.
        median_ms: median time of one forward of the fused model; likewise the quartiles and the fastest.
        rounds: number of forwards that these come from.
        ratio: median over the rounds of this model's time divided by the reference's; then its quartiles.
        reference_ms: the reference's median in the same rounds.
        memory_mb: on the CPU, the process's highest resident memory while it ran, less what it held before it loaded
            the model; on a GPU, the most that torch allocated.
        map50_95: accuracy of the fused model on `data`.
        fingerprint: hash of the model's file, which shows a change.
        error: reason why something is missing.
    """

    model: str
    backend: str
    hardware: str = ""
    parameters: int | None = None
    gflops: float | None = None
    before_fuse_ms: float | None = None
    median_ms: float | None = None
    quartile1_ms: float | None = None
    quartile3_ms: float | None = None
    fastest_ms: float | None = None
    rounds: int = 0
    ratio: float | None = None
    ratio_quartile1: float | None = None
    ratio_quartile3: float | None = None
    reference_ms: float | None = None
    memory_mb: float | None = None
    map50_95: float | None = None
    data: str = ""
    fingerprint: str = ""
    error: str = ""


def summarise(lane: Lane, reference: Lane, backend: str) -> Row:
    """Return the figures of one lane of a race."""
    row = Row(lane.model, backend, fingerprint=fingerprint(lane.model), error=lane.error)
    row.parameters, row.gflops = lane.facts.get("parameters"), lane.facts.get("gflops")
    times = lane.seconds.get("fused")
    if not times:
        return row
    row.hardware = lane.facts["hardware"]
    row.memory_mb = None if lane.facts["memory"] is None else round(lane.facts["memory"] / 2**20, 1)
    row.quartile1_ms, row.median_ms, row.quartile3_ms = (_ms(value) for value in _quartiles(times))
    row.fastest_ms, row.rounds = _ms(min(times)), len(times)
    if lane.seconds.get("unfused"):
        row.before_fuse_ms = _ms(statistics.median(lane.seconds["unfused"]))
    pairs = list(zip(times, reference.seconds.get("fused", [])))
    if pairs:
        ratios = _quartiles([time / other for time, other in pairs])
        row.ratio_quartile1, row.ratio, row.ratio_quartile3 = (round(value, 3) for value in ratios)
        row.reference_ms = _ms(statistics.median(other for _, other in pairs))
    return row


def _quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def fingerprint(model: str) -> str:
    """Return the hash of the file of a model's name; "" for Ultralytics' own and for composed models."""
    file = Path(model) if os.path.isfile(model) else configs.find_model(Path(model))
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else ""


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


class Results:
    """The rows of one folder, all with the same settings, hardware and reference.

    Args:
        folder: folder of `bench.json` and `bench.csv`; it is made where there is none.
        settings: settings of the coming run.
        reference: model that times are divided by.
        fresh: True discards the rows in the folder.

    Raises:
        ValueError: the rows in the folder cannot be compared with that run.
    """

    def __init__(self, folder: Path, settings: Settings, reference: str, fresh: bool = False) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self._settings = settings
        self._reference = reference
        self._conditions = {
            "settings": dataclasses.asdict(settings),
            "hardware": hardware.describe(),
            "reference": {"model": reference},
        }
        folder.mkdir(parents=True, exist_ok=True)
        if self.json.exists() and not fresh:
            self._read()

    @property
    def json(self) -> Path:
        """File that a later run reads."""
        return self.folder / "bench.json"

    def _read(self) -> None:
        try:
            found = json.loads(self.json.read_text(encoding="utf-8"))
            rows = [Row(**row) for row in found["rows"]]
            if not any(row.rounds for row in rows):
                return  # failures alone: no figures to mix with those of other conditions
            self.rows = rows
            for title, now in self._conditions.items():
                then = found[title]
                for name in now.keys() & then.keys():
                    if now[name] != then[name]:
                        raise ValueError(f"its {title} had {name} {then[name]}, and now it is {now[name]}")
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{self.json} cannot be continued: {error}; choose another folder with --out, or drop it with --fresh"
            ) from None

    def find(self, model: str, backend: str) -> Row | None:
        """Return the row of that model and backend, if the model's file has not changed."""
        now = fingerprint(model)
        rows = (row for row in self.rows if (row.model, row.backend, row.fingerprint) == (model, backend, now))
        return next(rows, None)

    def timed(self, model: str) -> list[Row]:
        """Return the rows of that model that have a latency, if its file has not changed."""
        now = fingerprint(model)
        return [row for row in self.rows if (row.model, row.fingerprint) == (model, now) and row.rounds]

    def missing(self, models: Sequence[str], backend: str) -> list[str]:
        """Return the models that are still to be timed; all of them if the reference is one of these."""
        missing = [model for model in models if not self._complete(self.find(model, backend))]
        return list(models) if self._reference in missing else missing

    def _complete(self, row: Row | None) -> bool:
        return row is not None and row.rounds >= self._settings.repeats and row.ratio is not None

    def add(self, row: Row) -> None:
        """Keep a row and write the files; a complete row of the same model is not replaced."""
        old = self.find(row.model, row.backend)
        if not self._complete(old):
            if old is not None:
                row.map50_95, row.data = old.map50_95, old.data
            kept = [other for other in self.rows if (other.model, other.backend) != (row.model, row.backend)]
            self.rows = [*kept, row]
        self.write()

    def write(self) -> None:
        """Write both files, each in one step, so that nobody reads half a file."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        written = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._replace(self.json, json.dumps({"date": written, **self._conditions, "rows": rows}, indent=1) + "\n")
        self._replace(self.folder / "bench.csv", as_csv(self.rows))

    def _replace(self, file: Path, text: str) -> None:
        partial = file.with_suffix(f"{file.suffix}.part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
