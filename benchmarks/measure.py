"""How these benchmarks measure: calls in turn, the allocator's ledger, and the machine they ran on."""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from yolo_backbones.bench.hardware import processor
from yolo_backbones.bench.worker.memory import keep
from yolo_backbones.families import families

RESULTS = Path(__file__).parent / "results"
MODELS = ["yolov8n.yaml", *(f"yolov8n-{family}.yaml" for family in families())]

# One measurement takes at least so many seconds: a shorter call is repeated within it.
_LEAST = 0.005


class Spread(NamedTuple):
    """A median, with the quartiles on both sides of it."""

    low: float
    median: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Return the three as a table's columns, the median under the bare name."""
        return {name: round(self.median, 3), f"{name}_low": round(self.low, 3), f"{name}_high": round(self.high, 3)}


def shown(row: Mapping[str, object], name: str) -> str:
    """Return a spread's columns in a printed table."""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f}-{row[f'{name}_high']:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of at least two values."""
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(times: Mapping[str, Sequence[float]], name: str, reference: str) -> Spread:
    """Return one call's time over another's, round by round: what slows the machine down for a while cancels."""
    return spread([ours / theirs for ours, theirs in zip(times[name], times[reference])])


def race(calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each call, in turn, A B C A B C, after two rounds that do not count.

    The process keeps its memory from here on, so that one call's time does not hang on what the others asked for.

    Args:
        calls: what to time, by name.
        repeats: rounds.
        device: whose work has to be done before the clock is read.
    """
    keep()
    times: dict[str, list[float]] = {name: [] for name in calls}
    number = {}
    for name, call in calls.items():
        _timed(call, 1, device)
        number[name] = max(1, math.ceil(_LEAST / _timed(call, 1, device)))
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(_timed(call, number[name], device))
    return times


def _timed(call: Callable[[], object], number: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    _wait(device)
    return (time.perf_counter() - start) / number


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that tensors took at once during a call, on top of those that were there before it.

    On the CPU the sum comes from the allocator's own events, in which a library's own scratch space
    is missing. A process's resident memory would have it, but keeps what was freed and varies by megabytes.
    """
    call()  # what is kept for the next time is no part of it
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    allocations = sorted((e["ts"], e["args"]["Ev Idx"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    now = peak = 0
    for *_, size in allocations:
        now += size
        peak = max(peak, now)
    return peak


def device_of(name: str) -> torch.device:
    """`cpu`, or a GPU's number as the yolo command takes it."""
    return torch.device(f"cuda:{name}" if name.isdecimal() else name)


def hardware(device: torch.device) -> str:
    """Return what the figures below were measured on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{cpu(torch.get_num_threads())}, torch {torch.__version__}"


def cpu(threads: int) -> str:
    """Return the processor, its widest vector instructions, and how many threads of it were used."""
    return f"{processor()} ({torch.backends.cpu.get_cpu_capability()}), {threads} threads"


def folder(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Path:
    """Return a table's folder: `--out`, or `results/` unless an option made it another table than that one."""
    if args.out:
        return args.out
    whole = all(value == parser.get_default(name) for name, value in vars(args).items() if name != "device")
    return RESULTS if whole else Path("runs/benchmarks")


def write_csv(file: Path, rows: Iterable[Mapping[str, object]], machine: str) -> None:
    """Write a table whose columns are the first row's keys and the machine, and say where."""
    rows = [{**row, "machine": machine} for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(file)
