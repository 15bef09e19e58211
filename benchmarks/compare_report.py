"""Time the report of a comparison with a thousand finished runs of 100 epochs, drawn at random.

python benchmarks/compare_report.py            # the whole
python benchmarks/compare_report.py --profile  # and where the time goes
"""

import argparse
import cProfile
import importlib
import json
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from yolo_backbones.compare import report
from yolo_backbones.compare.record import FINISHED, PLAN, Record, curves

LIMIT_S = 10
KEYS = ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]


def folder_of(folder: Path, models: int, seeds: int, epochs: int, classes: int) -> None:
    """Write a plan, records and curves."""
    random = np.random.default_rng(0)
    names = [f"yolov8n-model{i}" for i in range(models)]
    labels = [f"class {i}" for i in range(classes)]
    plan = {
        "models": [{"name": name, "source": f"{name}.yaml", "config": {}, "hash": ""} for name in names],
        "seeds": list(range(seeds)),
        "arguments": {"imgsz": 640},
        "task": "detect",
        "data": {"path": "data.yaml", "hash": "", "names": labels, "train": 10000, "val": 1000},
        "versions": {},
        "epochs": epochs,
        "format": 1,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(json.dumps(plan))
    for i, name in enumerate(names):
        for seed in range(seeds):
            final = 0.3 + 0.2 * i / models + random.normal(0, 0.005)
            curve = final * (1 - np.exp(-np.arange(1, epochs + 1) / 20)) + random.normal(0, 0.003, epochs)
            record = Record(name, seed, FINISHED, "detect", epochs, 1, seconds=3600, memory=4000, device="GPU")
            record.parameters_fused, record.gflops_fused, record.images = int(2e6 + 5e3 * i), 8.0, 1000
            record.metrics = {key: float(curve.max()) for key in KEYS}
            record.classes = {label: float(np.clip(final + random.normal(0, 0.1), 0, 1)) for label in labels}
            record.write(folder)
            columns = {"epoch": np.arange(1, epochs + 1), "time": np.arange(1, epochs + 1) * 36.0}
            losses = {f"{split}/{loss}_loss": 1 / (curve + 1) for split in ("train", "val") for loss in ("box", "cls")}
            table = pd.DataFrame({**columns, **losses, **dict.fromkeys(KEYS, curve)})
            table.to_csv(curves(folder, record), index=False, float_format="%.5g")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--out", type=Path, help="keep the folder here")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder_of(folder, options.models, options.seeds, options.epochs, options.classes)
        importlib.import_module("ultralytics")  # which the command has imported long before
        profile = cProfile.Profile()
        start, cpu = time.perf_counter(), time.process_time()
        if options.profile:
            profile.runcall(report.write, folder)
        else:
            report.write(folder)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(
            f"{options.models * options.seeds} runs: {seconds:.1f} s, {cpu:.1f} s of them computed; limit {LIMIT_S} s"
        )
        if options.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(25)


if __name__ == "__main__":
    main()
