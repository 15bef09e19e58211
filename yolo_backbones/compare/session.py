"""A comparison from beginning to end: checks, plan, runs, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import bench
from ..lock import held
from . import live, schedule
from .plan import Plan, extend
from .record import FAILED, FINISHED, WAITING, Record


@dataclass(frozen=True)
class Where:
    """Place of the runs.

    Attributes:
        devices: `cpu`, numbers of GPUs as `0,1`, or "" for the first GPU, or the CPU where there is none.
        jobs: runs at once on the CPU; None for one.
        stall: seconds without output after which a run is ended.
        ray: address of a Ray cluster; "" for this machine alone.
        cpus: processors of a run on the cluster, which has no GPU then; None for a GPU.
        storage: where Ray keeps what a run needs to go on, seen by all its nodes; "" for a folder in the comparison's.
    """

    devices: str = ""
    jobs: int | None = None
    stall: float = 1800
    ray: str = ""
    cpus: int | None = None
    storage: str = ""


def compare(
    models: Sequence[str],
    data: str,
    epochs: int,
    seeds: Sequence[int],
    arguments: dict[str, Any],
    folder: Path,
    where: Where,
    latency: bool = False,
    tell: Callable[[str], None] = print,
) -> list[Record]:
    """Train each model with each seed, unless that was done, and write the report.

    Args:
        models: names and files of configs and checkpoints, as `YOLO()` takes them; the others are held to the first.
        data: data set, as `yolo train` takes it.
        epochs: epochs of each run.
        seeds: each model is trained once with each.
        arguments: further ones of `yolo train`, the same for all.
        folder: where all of it goes; what is finished there is not trained again.
        where: where the runs take place.
        latency: True times the models at the end.
        tell: is called with what should be known before hours are spent.

    Returns:
        The records of the runs that were asked for.

    Raises:
        ValueError: it cannot be done: see `preflight`, `data`, `extend` and `held`.
        KeyboardInterrupt: it was stopped; the same call goes on from there.
    """
    from . import data as data_set  # these import torch and Ultralytics
    from . import preflight, report  # the last says at once where a package of its extra is missing

    folder = folder.resolve()
    places = [] if where.ray else preflight.devices(where.devices, where.jobs, bench.cores())
    with held(folder, "comparison", "--out"), quiet():
        preflight.check_arguments(arguments)
        found, task, classes = preflight.models(models)
        described = data_set.describe(data, task, arguments)
        asked = Plan(found, sorted(set(seeds)), arguments, task, described, epochs)
        plan = extend(folder, asked)
        preflight.check_room(plan, folder, max(1, len(places)))
        for doubt in preflight.doubts(asked, classes):
            tell(doubt)
        plan.write(folder)
        records = [Record.read(folder, *run) for run in asked.runs()]
        _run(folder, plan, records, places, where)
        if latency:
            from .latency import measure

            measure(folder, plan, places[0][0] if places else "cpu")
        report.write(folder)
        return [Record.read(folder, *run) for run in asked.runs()]


def _run(folder: Path, plan: Plan, records: list[Record], places: Sequence[tuple[str, int]], where: Where) -> None:
    waiting = [record for record in records if record.state != FINISHED]
    for record in waiting:
        record.state = WAITING
    from . import report

    with live.watch(folder, records, plan.epochs, max(1, len(places))) as view:

        def ended(record: Record) -> None:
            view.ended(record)
            if record.state == FINISHED:
                report.write(folder)

        if where.ray:
            from . import ray  # an extra, and only this imports it

            ray.run(folder, waiting, where.ray, where.cpus, where.storage, where.stall, view.show, ended)
        else:
            schedule.run(folder, waiting, places, where.stall, view.show, ended)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ultralytics from printing its help, or each model that is built; its warnings are printed."""
    from ultralytics.utils import LOGGER  # slow

    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def failed(records: Sequence[Record]) -> list[Record]:
    """Return those that failed."""
    return [record for record in records if record.state == FAILED]
