"""Runs on a Ray cluster: each is a trial of Ray Tune, which finds it a node and, if that is lost, another.

A trial trains in a folder of its own node. After each epoch it gives Ray what the run needs to go on, as Tune's
checkpoint, and the command takes that into the comparison's folder. So the folder holds the same as after runs on one
machine, and either way goes on from the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    import ray
    from ray import tune
except ImportError:
    raise ImportError('--ray needs Ray; pip install "yolo-backbones[ray]"') from None

from .. import bench
from .process import RunProcess, log_of
from .record import FAILED, FINISHED, PLAN, RECORD, RUNS, Record
from .schedule import INTERVAL

RETRIES = 3  # on another node
_LOG = "run.log"  # in a checkpoint
# While a run goes on, its snapshot holds them too.
_LEFT_OUT = {"last.pt", "best.pt"}


def run(
    folder: Path,
    waiting: Sequence[Record],
    address: str,
    cpus: int | None,
    storage: str,
    stall: float,
    show: Callable[[Record], None],
    ended: Callable[[Record], None],
) -> None:
    """Do runs on a cluster.

    Args:
        folder: the comparison's.
        waiting: records of the runs.
        address: of the cluster, as `ray.init` takes it.
        cpus: processors of a run; None for a GPU.
        storage: folder that all nodes see, or any address that Ray takes; "" for a folder in the comparison's.
        stall: seconds without output after which a run is ended.
        show: is told of each run after each epoch.
        ended: is told of each run that has finished or failed.

    Raises:
        ValueError: no node has what a run needs.
        KeyboardInterrupt: Ray was interrupted; the runs go on from their last epoch when they are asked for again.
    """
    if not waiting:
        return
    # No files of metrics and no warnings about their absence; and one about frequent checkpoints is for large trials.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with _connected(address):
        _check_nodes(cpus)
        place = Path(storage) if storage else folder / "ray"
        trial = tune.with_parameters(
            _trial,
            starts={record.name: _read(folder, record) for record in waiting},
            plan=(folder / PLAN).read_text(encoding="utf-8"),
            cwd=os.getcwd(),
            cpus=cpus,
            stall=stall,
        )
        mirror = _Mirror(folder, show, ended)
        tuner = tune.Tuner(
            tune.with_resources(trial, {"gpu": 1} if cpus is None else {"cpu": cpus}),
            param_space={"run": tune.grid_search([(record.model, record.seed) for record in waiting])},
            tune_config=tune.TuneConfig(trial_dirname_creator=_name),
            run_config=tune.RunConfig(
                name=f"compare-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
                storage_path=storage or str(place),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[mirror],
                verbose=0,
            ),
        )
        tuner.fit()
    if not storage:
        shutil.rmtree(place, ignore_errors=True)  # the folder has all of it
    if any(Record.read(folder, *run_).state not in {FINISHED, FAILED} for run_ in ((r.model, r.seed) for r in waiting)):
        raise KeyboardInterrupt


@contextlib.contextmanager
def _connected(address: str) -> Any:
    ray.init(address=address, log_to_driver=False, logging_level="warning")
    try:
        yield
    finally:
        ray.shutdown()


def _check_nodes(cpus: int | None) -> None:
    kind, needed = ("GPU", 1) if cpus is None else ("CPU", cpus)
    most = max((node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]), default=0)
    if most < needed:
        advice = "give --cpus N to train without" if cpus is None else f"give --cpus {most:g} or fewer"
        raise ValueError(f"no node of the cluster has {needed} {kind}{'s' if needed > 1 else ''}; {advice}")


def _name(trial: Any) -> str:
    model, seed = trial.config["run"]
    return Record(model, seed).name


# ---- on a node ----


def _trial(
    config: Mapping[str, Any],
    starts: Mapping[str, Mapping[str, bytes]],
    plan: str,
    cwd: str,
    cpus: int | None,
    stall: float,
) -> None:
    """Train one model with one seed in a folder of this node; go on from what an earlier node has left.

    Args:
        config: has `run`, its model and seed.
        starts: of each run the files that the comparison's folder holds, by path.
        plan: text of the plan.
        cwd: folder in which the command was called, from which models' files are found if this node sees it.
        cpus: threads of the run; None for a GPU, which Ray has chosen.
        stall: seconds without output after which it is ended.
    """
    model, seed = config["run"]
    if Path(cwd).is_dir():
        os.chdir(cwd)
    with tempfile.TemporaryDirectory() as local:
        folder, name = Path(local), Record(model, seed).name
        (folder / PLAN).write_text(plan, encoding="utf-8")
        kept = tune.get_checkpoint()
        if kept is None:
            for path, content in starts[name].items():
                file = folder / RUNS / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        else:
            with kept.as_directory() as source:
                unpack(Path(source), folder, name)
        record = Record.read(folder, model, seed)
        device, threads = ("0", bench.cores()) if cpus is None else ("cpu", cpus)
        process = RunProcess(folder, record, device, threads, stall)
        try:
            told = -1
            while process.poll():
                if process.record.epochs > told:
                    _report(folder, process.record)
                    told = process.record.epochs
                time.sleep(INTERVAL)
        finally:
            process.end()
        _report(folder, process.record)


def _report(folder: Path, record: Record) -> None:
    with tempfile.TemporaryDirectory() as packed:
        pack(folder, record, Path(packed))
        tune.report(
            {"record": json.dumps(dataclasses.asdict(record))}, checkpoint=tune.Checkpoint.from_directory(packed)
        )


def pack(folder: Path, record: Record, target: Path) -> None:
    """Copy what a run needs to go on, or what it has ended with, and its log."""
    source = folder / RUNS / record.name
    for path in source.rglob("*"):
        left_out = path.suffix == ".part" or (record.state != FINISHED and path.name in _LEFT_OUT)
        if path.is_file() and not left_out:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    log = log_of(folder, record)
    if log.exists():
        shutil.copyfile(log, target / _LOG)


def unpack(source: Path, folder: Path, name: str) -> None:
    """Put what was packed into a comparison's folder; the record last, since it says what is there."""
    target = folder / RUNS / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(_LOG, RECORD))
    shutil.copyfile(source / RECORD, target / RECORD)
    if (source / _LOG).exists():
        shutil.copyfile(source / _LOG, target.with_name(f"{name}.log"))


# ---- in the command ----


def _read(folder: Path, record: Record) -> dict[str, bytes]:
    """Return the files with which a run goes on, by path in its folder."""
    with tempfile.TemporaryDirectory() as packed:
        target = Path(packed)
        pack(folder, record, target)
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


class _Mirror(tune.Callback):  # type: ignore[misc]
    """Takes what trials report into the comparison's folder."""

    def __init__(self, folder: Path, show: Callable[[Record], None], ended: Callable[[Record], None]) -> None:
        self._folder = folder
        self._show = show
        self._ended = ended

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """Take the files."""
        with checkpoint.as_directory() as source:
            unpack(Path(source), self._folder, _name(trial))
        record = Record.read(self._folder, *trial.config["run"])
        self._show(record)
        if record.state in {FINISHED, FAILED}:
            self._ended(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write that a run has failed for good."""
        record = Record.read(self._folder, *trial.config["run"])
        record.state = FAILED
        record.error = f"Ray gave it up after {RETRIES} other nodes; `ray status` tells which are lost"
        record.write(self._folder)
        self._ended(record)
