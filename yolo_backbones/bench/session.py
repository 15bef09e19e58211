"""A benchmark from beginning to end: export, races, validation, files."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .process import Worker, WorkerError
from .race import Lane, race
from .results import Results, Row, summarise
from .settings import Settings, check


def measure(
    models: Sequence[str],
    backends: Sequence[str],
    settings: Settings,
    folder: Path,
    data: str = "",
    fresh: bool = False,
    limit: float | None = None,
) -> list[Row]:
    """Time models against the first of them, and write `bench.json`, `bench.csv` and `bench.png`.

    Models with a row in the folder are not measured again, except for the reference, which runs beside the new ones. An
    interrupt leaves the files with the rows that were measured until then.

    Args:
        models: names and files of configs and checkpoints, as `YOLO()` takes them.
        backends: some of `BACKENDS`.
        settings: settings of all models.
        folder: folder for the files.
        data: data set on which checkpoints are validated; "" for none.
        fresh: True discards the rows in the folder.
        limit: seconds that loading a model, its export, or one of its turns may take; one that takes longer fails.

    Returns:
        A row for each model and backend, in their order; a failed one has the reason.

    Raises:
        ImportError: a package that a backend needs is missing.
        ValueError: nothing can be measured: see `check` and `Results`, or there is no such GPU.
    """
    models, backends = list(dict.fromkeys(models)), list(dict.fromkeys(backends))
    check(models, backends, settings)
    if not settings.on_cpu:
        _check_device(settings)
    results = Results(folder, settings, models[0], fresh)
    try:
        with tempfile.TemporaryDirectory() as exports, _progress() as progress:
            session = _Session(results, settings, progress, limit)
            session.time(models, backends, Path(exports))
            if data:
                session.validate([model for model in models if Path(model).suffix == ".pt"], data)
    finally:
        _plot(results)
    return [row for backend in backends for model in models if (row := results.find(model, backend))]


def _check_device(settings: Settings) -> None:
    with Worker("network", settings.threads) as worker:
        try:
            worker.ask("check_device", {"device": settings.device})
        except WorkerError as error:
            raise ValueError(str(error)) from None


def _plot(results: Results) -> None:
    from .plot import scatter  # matplotlib takes a second

    scatter(results.rows, results.folder / "bench.png")


@contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between forwards: a thread would take time from them.
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as progress:
        yield progress


class _Session:
    """One run, in which failures of single models become rows."""

    def __init__(self, results: Results, settings: Settings, progress: Progress, limit: float | None) -> None:
        self._results = results
        self._settings = settings
        self._progress = progress
        self._limit = limit
        self._task = progress.add_task("", total=1)
        self._exported: dict[str, dict[str, Any]] = {}  # facts of each exported model, or its error

    def time(self, models: Sequence[str], backends: Sequence[str], exports: Path) -> None:
        """Time the models without a row beside the reference, one backend after the other."""
        reference = models[0]
        racing = {}
        for backend in backends:
            missing = self._results.missing(models, backend)
            if missing:
                racing[backend] = [reference, *(model for model in missing if model != reference)]
        needed = {model for backend in racing if backend != "torch" for model in racing[backend]}
        steps = sum(len(names) + self._settings.repeats for names in racing.values()) + len(needed)
        self._progress.update(self._task, total=steps)
        files = self._export([model for model in models if model in needed], exports)
        for backend, names in racing.items():
            sources = {name: name for name in names}
            if backend != "torch":
                sources = {name: str(files[name]) for name in names if name in files}
            lost = [Lane(name, error=self._exported[name]["error"]) for name in names if name not in sources]
            self._add_rows(lost, backend, reference)
            if sources:
                record = functools.partial(self._add_rows, backend=backend, reference=reference)
                race(sources, backend, self._settings, record, self._advance, self._limit)

    def _export(self, models: Sequence[str], folder: Path) -> dict[str, Path]:
        """Export models to ONNX in one process, replaced if it dies; return the files by model, without failures."""
        files = {}
        worker = None
        try:
            for number, model in enumerate(models):
                self._advance(f"export of {model}")
                worker = worker or Worker("network", self._settings.threads, self._limit)
                file = folder / f"{number}.onnx"
                chosen = {name: getattr(self._settings, name) for name in ("imgsz", "batch", "simplify")}
                try:
                    self._exported[model] = worker.ask("export", {"model": model, "file": str(file), **chosen})
                    files[model] = file
                except WorkerError as error:
                    self._exported[model] = {"error": str(error)}
                    worker = None
        finally:
            if worker:
                worker.close()
        return files

    def _add_rows(self, lanes: Sequence[Lane], backend: str, reference: str) -> None:
        """Add a row for each lane that has times or an error; after an interrupt, some have neither."""
        reference_lane = next((lane for lane in lanes if lane.model == reference), Lane(reference))
        for lane in lanes:
            if lane.error or lane.seconds.get("fused"):
                lane.facts = {**self._exported.get(lane.model, {}), **lane.facts}
                self._results.add(summarise(lane, reference_lane, backend))

    def validate(self, models: Sequence[str], data: str) -> None:
        """Fill in the mAP of these checkpoints, each in a process of its own."""
        for model in models:
            rows = self._results.timed(model)
            known = next((row.map50_95 for row in rows if row.data == data and row.map50_95 is not None), None)
            error = ""
            if known is None and rows:
                self._advance(f"validation of {model}")
                known, error = self._validate_one(model, data)
            for row in rows:
                row.map50_95, row.data, row.error = known, data, error
            self._results.write()

    def _validate_one(self, model: str, data: str) -> tuple[float | None, str]:
        with Worker("network", self._settings.threads) as worker:
            chosen = {"imgsz": self._settings.imgsz, "device": self._settings.device}
            try:
                return worker.ask("validate", {"model": model, "data": data, **chosen})["map50_95"], ""
            except WorkerError as error:
                return None, f"validation: {error}"

    def _advance(self, doing: str) -> None:
        task = self._progress.tasks[self._task]
        more = max(task.total or 0, task.completed + 2)  # further groups of a race are not in the total
        self._progress.update(self._task, total=more, advance=1, description=doing, refresh=True)
