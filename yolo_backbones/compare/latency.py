"""Latency of the models of a comparison, as `yolo-backbones bench` measures it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from .. import bench
from ..leftovers import write_text
from .plan import Plan
from .record import FINISHED, LATENCY, RUNS, Record

_STRIDE = 32


def measure(folder: Path, plan: Plan, device: str) -> None:
    """Time a finished run's best weights of each model, merged, in PyTorch, and write the bench's rows.

    The file is a list of rows; the model of each is its name in the comparison. The first model is the reference.
    """
    files = {}
    for model in plan.models:
        records = (Record.read(folder, model["name"], seed) for seed in plan.seeds)
        finished = next((record for record in records if record.state == FINISHED), None)
        if finished:
            files[str(folder / RUNS / finished.name / "weights" / "best.pt")] = model["name"]
    if not files:
        return
    imgsz = int(plan.arguments.get("imgsz", 640))
    settings = bench.Settings(imgsz=-(-imgsz // _STRIDE) * _STRIDE, device=device)  # rounded up, as Ultralytics does
    rows = bench.measure(list(files), ["torch"], settings, folder / "bench", fresh=True)
    named = [{**dataclasses.asdict(row), "model": files[row.model]} for row in rows]
    write_text(folder / LATENCY, json.dumps(named, indent=1))
