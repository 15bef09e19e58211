r"""What the size of the weights in front of BatchNorm is worth in the training behind an alignment.

    python benchmarks/transfer.py     # first: the teacher, the aligned checkpoints and the target
    python benchmarks/weight_size.py  # with its `--out`, where that had one; an hour on 2 cores

The weights of the checkpoint's backbone are made small or large, in units of the size with which torch begins, and what
BatchNorm holds is made to fit, so each of these checkpoints finds the same before it is trained. Then each is trained
on the target as in `transfer.py`. The teacher is among them: what does it gain?

Prints mAP50-95 after the last epoch, mean and standard deviation over seeds, and what of a map changed by the size
alone, the largest of all; writes them to `results/weight_size.csv`, or
to the folder of `--out` where an option made it another table.
"""

from __future__ import annotations

import argparse
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import device_of, hardware, write_csv
from transfer import resize, scores, tables, train

from yolo_backbones.families import families


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(families()))
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 0.5, 0.25, 0.125])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--target", default="target64", help="folder in `--out`")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at once")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="of `transfer.py`")
    args = parser.parse_args()
    args.out = args.out.resolve()
    starts = {"teacher": args.out / "teacher" / "weights" / "best.pt"}
    starts |= {family: args.out / f"yolov8n-{family}-aligned.pt" for family in args.families}
    changes = {
        (name, share): resize(file, share, args.out / "sizes" / f"{name}-{share:g}.pt")
        for name, file in starts.items()
        for share in args.shares
    }
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = {case: [pool.submit(learn, *case, seed, args) for seed in range(args.seeds)] for case in changes}
        found = {case: [run.result() for run in seeds] for case, seeds in runs.items()}
    rows = []
    print(f"{'start':12} {'size':>6} {'mAP50-95':>8} {'sd':>6} {'map changed by':>15}")
    for (name, share), values in found.items():
        deviation = statistics.stdev(values) if values[1:] else float("nan")
        rows.append({
            "start": name, "size": share, "seeds": len(values), "mAP50-95": round(statistics.mean(values), 4),
            "sd": round(deviation, 4), "changed": f"{changes[name, share]:.1e}",
        })  # fmt: skip
        print(f"{name:12} {share:6g} {statistics.mean(values):8.3f} {deviation:6.3f} {changes[name, share]:15.1e}")
    write_csv(tables(parser, args) / "weight_size.csv", rows, hardware(device_of(args.device)))


def learn(name: str, share: float, seed: int, args: argparse.Namespace) -> float:
    """Train one on the target; return its mAP50-95 after the last epoch."""
    run = f"{args.target}-{name}-size{share:g}-seed{seed}"
    options = {
        "model": args.out / "sizes" / f"{name}-{share:g}.pt", "data": args.out / args.target / "data.yaml",
        "epochs": args.epochs, "seed": seed, "val": False,
    }  # fmt: skip
    train(run, options, args)
    return scores(args.out / run)[-1]


if __name__ == "__main__":
    main()
