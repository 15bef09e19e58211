"""A comparison's folder, read: plan, records, curves, latency."""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .. import record as layout
from ..record import FAILED, FINISHED, Record
from . import metrics


@dataclass(frozen=True)
class Comparison:
    """Content of a folder at this moment.

    Attributes:
        plan: the plan, as it was written before the first run.
        records: record of each run, in the plan's order: by model, then by seed.
        latency: the bench's row of each model that was timed.
    """

    folder: Path
    plan: dict[str, Any]
    records: list[Record]
    latency: dict[str, dict[str, Any]]

    @property
    def models(self) -> list[str]:
        """Names of the models, the reference first."""
        return [model["name"] for model in self.plan["models"]]

    @property
    def reference(self) -> str:
        """Name of the model that the others are held to."""
        return self.models[0]

    @functools.cached_property
    def finished(self) -> dict[str, list[Record]]:
        """Finished runs of each model, in the order of the seeds."""
        found: dict[str, list[Record]] = {name: [] for name in self.models}
        for record in self.records:
            if record.state == FINISHED:
                found[record.model].append(record)
        return found

    @functools.cached_property
    def metrics(self) -> list[str]:
        """Keys of the metrics that are shown, the primary one first."""
        recorded = next((record.metrics for record in self.records if record.metrics), {})
        return metrics.shown(self.plan["task"], recorded)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """Every epoch of every run: model, seed, then Ultralytics' own columns; without rows before the first epoch."""
        # Runs with the same columns are read at once: a thousand calls of pandas' reader would take seconds.
        texts: dict[str, list[str]] = {}
        origins: dict[str, list[tuple[str, int]]] = {}
        for record in self.records:
            header, *lines = _lines(layout.curves(self.folder, record)) or [""]
            texts.setdefault(header, [header]).extend(lines)
            origins.setdefault(header, []).extend([(record.model, record.seed)] * len(lines))
        frames = [_curves(texts[header], origins[header]) for header in texts if "epoch" in header]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["model", "seed", "epoch"])

    def runs(self) -> pd.DataFrame:
        """Return a row for each run, each metric a column."""
        rows = []
        for record in self.records:
            row = dict(vars(record))
            scores = row.pop("metrics")
            del row["classes"]  # in compare.json: hundreds of columns otherwise
            rows.append({**row, "resumed": " ".join(map(str, row["resumed"])), **scores})
        return pd.DataFrame(rows)


def read(folder: Path) -> Comparison:
    """Read a comparison's folder.

    A record that is damaged counts as a failed run; its error says so.

    Raises:
        FileNotFoundError: the folder holds no plan.
        ValueError: the plan or latency.json is no JSON.
    """
    plan = _json(folder / layout.PLAN)
    runs = [(model["name"], seed) for model in plan["models"] for seed in plan["seeds"]]
    file = folder / layout.LATENCY
    rows = _json(file) if file.exists() else []
    latency = {row["model"]: row for row in rows if row.get("median_ms") is not None}
    return Comparison(folder, plan, [_record(folder, *run) for run in runs], latency)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); remove it and start the comparison again") from None


def _record(folder: Path, model: str, seed: int) -> Record:
    try:
        return Record.read(folder, model, seed)
    except ValueError as error:
        return Record(model, seed, FAILED, error=str(error))


def _lines(file: Path) -> list[str]:
    """Return the whole lines of a CSV file, the header first.

    A run in progress may have written half of its last line; one that was killed then and resumed has gone on in it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [line for line in lines if line.strip() and line.count(",") == lines[0].count(",")]


def _curves(lines: list[str], origins: list[tuple[str, int]]) -> pd.DataFrame:
    frame = pd.read_csv(io.StringIO("\n".join(lines)), skipinitialspace=True)  # old releases align columns with spaces
    frame.columns = frame.columns.str.strip()
    frame.insert(0, "seed", [seed for _, seed in origins])
    frame.insert(0, "model", [model for model, _ in origins])
    # An epoch that was interrupted after its line was written is trained, and written, again.
    return frame.drop_duplicates(["model", "seed", "epoch"], keep="last")
