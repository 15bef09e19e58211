"""Folders of comparisons with figures that are known, for the tests of the report."""

import json
import warnings

from yolo_backbones.compare import report
from yolo_backbones.compare.record import FINISHED, PLAN, Record, curves
from yolo_backbones.compare.report import words
from yolo_backbones.compare.report.read import read
from yolo_backbones.compare.report.statistics import summarise

BOX, MASK, TOP1 = "metrics/mAP50-95(B)", "metrics/mAP50-95(M)", "metrics/accuracy_top1"
STOCK, STAR = "yolov8n", "yolov8n-starnet"
SCORES = {STOCK: [0.30, 0.32, 0.31], STAR: [0.33, 0.34, 0.35]}
PLOTS = ["classes", "cost", "curves"]


def plan_of(folder, models=(STOCK, STAR), seeds=3, task="detect", names=("cat", "dog"), **changes):
    """Write a plan alone, which is what a folder holds before the first run."""
    plan = {
        "models": [
            {"name": name, "source": f"{name}.yaml", "config": {"backbone": []}, "hash": "1"} for name in models
        ],
        "seeds": list(range(seeds)),
        "arguments": {"imgsz": 320},
        "task": task,
        "data": {"path": "my_data.yaml", "hash": "abc", "names": list(names), "train": 900, "val": 400},
        "versions": {"ultralytics": "8.4.190"},
        "epochs": 3,
        "format": 1,
        **changes,
    }
    (folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    return plan


def run(folder, model, seed, score, key=BOX, names=("cat", "dog"), **changes):
    """Write a finished run: its record, and three epochs that rise to its score."""
    record = Record(model, seed, FINISHED, "detect", 3, 1, seconds=60.0 * (seed + 1), memory=100.0 + seed, device="CPU")
    record.metrics, record.classes = {key: score}, dict.fromkeys(names, score)
    record.parameters, record.parameters_fused, record.gflops_fused = 3_200_000, 3_100_000 + len(model), 8.7
    for name, value in changes.items():
        setattr(record, name, value)
    record.write(folder)
    lines = [f"{epoch},{epoch * 20.0},{score * epoch / 3:.6f}" for epoch in (1, 2, 3)]
    curves(folder, record).write_text("\n".join([f"epoch,time,{key}", *lines]) + "\n", encoding="utf-8")


def whole(folder, scores=SCORES, seeds=3, **plan):
    """Write a comparison in which every run is finished."""
    plan_of(folder, tuple(scores), seeds, **plan)
    for model, values in scores.items():
        for seed, score in enumerate(values[:seeds]):
            run(folder, model, seed, score, names=plan.get("names", ("cat", "dog")))


def text_of(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.write(folder)
    return (folder / "report.md").read_text(encoding="utf-8")


def words_of(folder):
    """Return report.md alone, without drawing, which takes most of the time."""
    comparison = read(folder)
    return words.report(comparison, summarise(comparison), "", [])


def row_of(folder, model):
    return next(row for row in json.loads((folder / "compare.json").read_text())["models"] if row["model"] == model)


def pictures(folder):
    return sorted(file.stem for file in folder.glob("*.png"))
