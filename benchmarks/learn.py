"""Trains each family's n model and stock YOLOv8n from scratch under one schedule; writes a table and a plot.

    python benchmarks/learn.py --data path/to/bccd/data.yaml

Each model is trained by the `yolo` command in a process of its own, with the same seed. A model that has finished in
`--out` with the same options and the same config is not trained again. Prints mAP50-95 and its ratio to stock's in the
same run, and writes `learn.csv` (the table), `curves.csv` (every epoch) and `learn.png`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import MODELS

MAP50, MAP = "metrics/mAP50(B)", "metrics/mAP50-95(B)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set YAML; train on a copy, label caches are written beside")
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is what the others are held to")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="several: means are compared")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="models trained at once, a thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/learn"))
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)

    runs = [(model, seed) for seed in args.seed for model in args.models]
    with ThreadPoolExecutor(args.jobs) as pool:
        for (model, seed), seconds in zip(runs, pool.map(lambda run: train(*run, args), runs)):
            print(f"{model} seed {seed}: {seconds:.0f} s" if seconds else f"{model} seed {seed}: found", flush=True)
    report(args)


def train(model: str, seed: int, args: argparse.Namespace) -> float:
    """Train one model unless it is there already; return the seconds it took, 0 if it was there."""
    done = results(model, seed, args)
    stamp = done.with_name("stamp.json")
    asked = json.dumps({"config": config(model), **options(seed, args)}, indent=1, default=str)
    if stamp.exists() and stamp.read_text() == asked:
        return 0
    shutil.rmtree(done.parent, ignore_errors=True)
    unfinished = args.out / f"{done.parent.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    yolo = shutil.which("yolo", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if yolo is None:
        sys.exit("learn: no yolo command beside this Python; pip install ultralytics")
    start = time.perf_counter()
    with open(args.out / f"{done.parent.name}.log", "w") as log:
        subprocess.run(
            [
                yolo, "detect", "train", f"model={model}", f"project={args.out}", f"name={unfinished.name}",
                *(f"{key}={value}" for key, value in options(seed, args).items()),
            ],
            check=True, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // args.jobs, 1))},
        )  # fmt: skip
    unfinished.rename(done.parent)
    stamp.write_text(asked)
    return time.perf_counter() - start


def options(seed: int, args: argparse.Namespace) -> dict[str, object]:
    """Return what every model is trained with."""
    return {
        "data": args.data, "epochs": args.epochs, "imgsz": args.imgsz, "batch": args.batch, "seed": seed,
        "pretrained": False, "workers": 0, "plots": False,
    }  # fmt: skip


def config(model: str) -> dict[str, object]:
    """Return the model's config as Ultralytics reads it."""
    from ultralytics.nn.tasks import yaml_model_load

    return {key: value for key, value in yaml_model_load(model).items() if key != "yaml_file"}


def results(model: str, seed: int, args: argparse.Namespace) -> Path:
    """Return where a finished run has its curves."""
    return args.out / f"{Path(model).stem}-seed{seed}" / "results.csv"


def curve(model: str, seed: int, args: argparse.Namespace) -> list[dict[str, float]]:
    """Return one dict an epoch."""
    with open(results(model, seed, args), newline="") as file:
        return [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def report(args: argparse.Namespace) -> None:
    """Print and write the table, and plot the curves."""
    from matplotlib import pyplot as plt

    curves = {m: [curve(m, seed, args) for seed in args.seed] for m in args.models}
    best = {
        m: {key: sum(max(row[key] for row in c) for c in cs) / len(cs) for key in (MAP50, MAP)}
        for m, cs in curves.items()
    }
    stock = best[args.models[0]][MAP]
    table = [
        {"model": Path(m).stem, "mAP50": round(best[m][MAP50], 4), "mAP50-95": round(best[m][MAP], 4),
         "ratio": round(best[m][MAP] / stock, 3) if stock else float("nan")}
        for m in args.models
    ]  # fmt: skip
    long = [
        {"model": Path(m).stem, "seed": seed, "epoch": int(row["epoch"]), "mAP50": row[MAP50], "mAP50-95": row[MAP]}
        for m, cs in curves.items()
        for seed, c in zip(args.seed, cs)
        for row in c
    ]
    for name, rows in (("learn.csv", table), ("curves.csv", long)):
        with open(args.out / name, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    print(f"\n{'model':24} {'mAP50':>8} {'mAP50-95':>9} {'of stock':>9}")
    for row in table:
        print(f"{row['model']:24} {row['mAP50']:8.3f} {row['mAP50-95']:9.3f} {row['ratio']:9.2f}")

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for m, cs in curves.items():
        epochs = range(1, min(len(c) for c in cs) + 1)
        style = {"color": "black", "linewidth": 2.5} if m == args.models[0] else {}
        axes.plot(epochs, [sum(c[i - 1][MAP] for c in cs) / len(cs) for i in epochs], label=Path(m).stem, **style)
    axes.set(xlabel="epoch", ylabel="mAP50-95", title=f"From scratch, {args.imgsz} px, batch {args.batch}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(args.out / "learn.png", dpi=150)
    print(f"\n{args.out / 'learn.csv'}\n{args.out / 'curves.csv'}\n{args.out / 'learn.png'}")


if __name__ == "__main__":
    main()
