"""Trains each family's n model and stock YOLOv8n from scratch under one schedule, on the CPU; writes tables and plots.

    python benchmarks/learn.py --data path/to/bccd/data.yaml

This is `yolo-backbones compare` with the schedule of README's figures. So a model that has finished in `--out` with the
same options is not trained again, and `--out` has that command's report. Beside it, `learn.csv` holds mAP of each
model, means over the seeds, and the ratio of its mAP50-95 to stock's; `learn.png` is the plot of the curves, `learn.md`
the table.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import sys
from pathlib import Path

from measure import MODELS

from yolo_backbones import compare
from yolo_backbones.compare.record import Record

MAP50, MAP = "metrics/mAP50(B)", "metrics/mAP50-95(B)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set YAML; train on a copy, label caches are written beside")
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is what the others are held to")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--optimizer", default="auto", help="Ultralytics' own choice by default, or SGD at 0.01")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="several: means are compared")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="models trained at once, a thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/learn"))
    args = parser.parse_args()

    arguments = {
        "imgsz": args.imgsz, "batch": args.batch, "optimizer": args.optimizer, "pretrained": False, "workers": 0,
        "plots": False,
    }  # fmt: skip
    where = compare.Where("cpu", args.jobs)
    records = compare.compare(args.models, args.data, args.epochs, args.seed, arguments, args.out, where)
    for record in compare.failed(records):
        print(f"{record.name} failed: {record.error}; its log is {compare.log_of(args.out, record)}")
    if compare.failed(records):
        sys.exit(1)
    with open(args.out / "learn.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["model", "seeds", "mAP50", "mAP50-95", "sd", "ratio"])
        writer.writeheader()
        writer.writerows(table(records))
    for name, copy in (("curves.png", "learn.png"), ("table.md", "learn.md")):
        shutil.copyfile(args.out / name, args.out / copy)
    print((args.out / "learn.csv").read_text())


def table(records: list[Record]) -> list[dict[str, object]]:
    """Return a row for each model: means over its seeds, standard deviation, and the ratio to the first's."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.model, []).append(record)
    stock = statistics.mean(record.metrics[MAP] for record in records if record.model == records[0].model)
    rows: list[dict[str, object]] = []
    for name, found in runs.items():
        scores = [record.metrics[MAP] for record in found]
        rows.append({
            "model": name, "seeds": len(scores), "mAP50": round(statistics.mean(r.metrics[MAP50] for r in found), 4),
            "mAP50-95": round(statistics.mean(scores), 4),
            "sd": round(statistics.stdev(scores), 4) if scores[1:] else "",
            "ratio": round(statistics.mean(scores) / stock, 3) if stock else float("nan"),
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
