r"""What each start is worth on few labelled pictures: from scratch, the teacher's neck and head, aligned, stock.

    python benchmarks/transfer.py                          # the simulation; three hours on 2 cores
    python benchmarks/transfer.py --device 0 --jobs 12     # on a GPU, so many trainings at once
    python benchmarks/transfer.py --labelled 16 64 256 --families starnet --classified  # by how much is labelled
    python benchmarks/transfer.py --source path/to/bccd/data.yaml --target path/to/bccd/data.yaml \
        --teacher-epochs 40 --align-epochs 15 --epochs 25 --equal --imgsz 224 --out runs/transfer-bccd

The simulation stands for a user's few hundred pictures and a teacher trained on COCO. The source is drawn: 2,048
pictures of shapes, in colour. The target is 64 labelled pictures, grey and noisy, with other classes, and 256 more to
validate on; `--labelled` draws other numbers of them. Stock YOLOv8n is trained on the source. Each family's backbone is
aligned to it on the source's pictures, without labels, and then everything is trained on the target. `--equal` trains
the starts that were not aligned for the alignment's epochs more. `--classified` adds a start that stands for ImageNet's
weights: the backbone has learned to tell the source's objects apart. An aligned checkpoint has small weights in front
of BatchNorm, which learn faster; stock is trained from such weights as well (`weight_size.py` tries more sizes).

Each training is one `yolo train` in a process of its own. One that is finished in `--out` is not repeated. Prints
mAP50-95 after the last epoch, which nothing is chosen by, mean and standard deviation over seeds, and the ratio to
stock fine-tuned; and, in front, what the teacher reached on the source in its best epoch and the aligned models before
they saw a label. Writes it all to `results/transfer.csv`, or to the folder of `--out` where an option made it another
table.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from drawn import OBJECT, draw_objects, draw_source, draw_target
from measure import RESULTS, device_of, hardware, write_csv
from ultralytics import YOLO

from yolo_backbones.align import checkpoint, junction, scale
from yolo_backbones.families import families
from yolo_backbones.layers.initialisation import SHARE

MAP = "metrics/mAP50-95(B)"
STOCK = "yolov8n.yaml"
SCRATCH, NECK, ALIGNED, TUNED = "from scratch", "neck and head", "aligned", "fine-tuned"
SMALL, CLASSIFIED = "fine-tuned small", "classified"
SOURCE = "source"  # stands for a target's name where nothing was learned from a label
ROWS = (4, 6, 8)  # whose maps stock's neck reads
_DRAWING = Lock()  # the objects are the same for every family


@dataclass(frozen=True)
class Run:
    """A training on the target."""

    target: str  # name of its folder in `--out`
    model: str
    start: str
    seed: int
    options: dict[str, object]
    waits_for: Path | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.target}-{Path(self.model).stem}-{self.start.replace(' ', '-')}-seed{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(families()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--source", help="data set's YAML; drawn by default")
    parser.add_argument("--target", help="data set's YAML; drawn by default")
    parser.add_argument("--labelled", type=int, nargs="+", default=[64], help="pictures of the target that is drawn")
    parser.add_argument("--teacher-epochs", type=int, default=40)
    parser.add_argument("--align-epochs", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=60, help="on the target")
    parser.add_argument("--classified", action="store_true", help="a start more: the backbone of a classifier")
    parser.add_argument("--equal", action="store_true", help="train the others for the alignment's epochs more")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at once")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    source = args.source or draw_source(args.out / "source", args.imgsz)
    if args.target:
        targets = {"target": args.target}
    else:
        targets = {f"target{n}": draw_target(args.out / f"target{n}", args.imgsz, n) for n in args.labelled}

    teacher = args.out / "teacher" / "weights" / "best.pt"
    aligned = {family: args.out / f"yolov8n-{family}-aligned.pt" for family in args.families}
    small = args.out / "teacher-small.pt"
    runs = [run for name, data in targets.items() for run in plan(name, data, teacher, small, aligned, args)]
    with ThreadPoolExecutor(args.jobs) as pool:
        # A task waits for nothing but tasks that were submitted before it, so the first of those that run never waits.
        taught = pool.submit(teach, source, args)
        scratch = [pool.submit(learn, run, args) for run in runs if run.start == SCRATCH]
        after = {teacher: taught, small: pool.submit(make_small, taught, teacher, small)}
        for family, file in aligned.items():
            after[file] = pool.submit(align, family, taught, source, args)
            if args.classified:
                after[classifier_of(family, args)] = pool.submit(classify, family, source, args)
        rest = [pool.submit(learn, run, args, after[run.waits_for]) for run in runs if run.waits_for]
        for task in (taught, *scratch, *after.values(), *rest):
            task.result()
    found = {**before_labels(args), **after_labels(runs, args.out)}
    report(found, tables(parser, args), hardware(device_of(args.device)))


def tables(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Path:
    """Return a table's folder: `results/`, or `--out`, that of the trainings, where an option made it another table."""
    free = {"device", "jobs", "out"}
    whole = all(value == parser.get_default(name) for name, value in vars(args).items() if name not in free)
    return RESULTS if whole else args.out


def plan(
    target: str, data: str, teacher: Path, small: Path, aligned: dict[str, Path], args: argparse.Namespace
) -> list[Run]:
    """List every training on a target."""
    longer = args.epochs + args.align_epochs if args.equal else args.epochs
    starts: list[tuple[str, str, Path | None, dict[str, object]]] = [
        (STOCK, SCRATCH, None, {"model": STOCK, "pretrained": False, "epochs": longer}),
        (STOCK, TUNED, teacher, {"model": teacher, "epochs": longer}),
        (STOCK, SMALL, small, {"model": small, "epochs": longer}),
    ]
    for family, ready in aligned.items():
        model = f"yolov8n-{family}.yaml"
        starts += [
            (model, SCRATCH, None, {"model": model, "pretrained": False, "epochs": longer}),
            (model, NECK, teacher, {"model": model, "pretrained": teacher, "epochs": longer}),
            (model, ALIGNED, ready, {"model": ready, "epochs": args.epochs}),
        ]
        if args.classified:
            classifier = classifier_of(family, args)
            starts.append((model, CLASSIFIED, classifier, {"model": model, "pretrained": classifier, "epochs": longer}))
    return [
        # Validated at the end alone: on few pictures that takes longer than the training.
        Run(target, model, start, seed, {**options, "data": data, "seed": seed, "val": False}, file)
        for seed in range(args.seeds)
        for model, start, file, options in starts
    ]


def teach(source: str, args: argparse.Namespace) -> None:
    """Train the teacher, stock YOLOv8n, on the source."""
    train("teacher", {"model": STOCK, "data": source, "epochs": args.teacher_epochs}, args)
    best = max(scores(args.out / "teacher"))
    print(f"teacher: {best:.3f} on its own data in its best epoch", flush=True)


def classifier_of(family: str, args: argparse.Namespace) -> Path:
    """Return a classifier's checkpoint."""
    return args.out / f"classify-{family}" / "weights" / "last.pt"


def classify(family: str, source: str, args: argparse.Namespace) -> None:
    """Train a family's backbone to classify the source's objects, for as many steps as the teacher learns."""
    objects = args.out / "objects"
    with _DRAWING:
        draw_objects(Path(source).parent, objects)
    pictures, cut = (count(folder) for folder in (Path(source).parent / "images" / "train", objects / "train"))
    epochs = max(1, round(args.teacher_epochs * pictures / cut))
    given = {"model": f"yolov8n-{family}-cls.yaml", "data": objects, "imgsz": OBJECT, "epochs": epochs}
    train(f"classify-{family}", given, args, task="classify")


def count(folder: Path) -> int:
    """Return how many pictures lie in a folder and those below it."""
    return sum(file.suffix in (".jpg", ".png") for file in folder.rglob("*"))


def learn(run: Run, args: argparse.Namespace, after: Future[None] | None = None) -> None:
    """Train a start on the target, as soon as what it starts from is there."""
    if after:
        after.result()
    train(run.name, run.options, args)
    print(f"{run.name}: {scores(args.out / run.name)[-1]:.3f}", flush=True)


def train(name: str, options: dict[str, object], args: argparse.Namespace, task: str = "detect") -> None:
    """Train a model unless that is done."""
    if (args.out / name / "finished").exists():
        return
    common = {"imgsz": args.imgsz, "batch": args.batch, "device": args.device, "workers": loaders(args)}
    # In single precision on a GPU too, so that figures of both devices may stand side by side.
    common |= {"amp": False, "plots": False}
    given = {**common, "project": args.out, "name": name, "exist_ok": True, **options}
    call("yolo", task, "train", *(f"{key}={value}" for key, value in given.items()), log=name, args=args)
    (args.out / name / "finished").touch()


def loaders(args: argparse.Namespace) -> int:
    """Return how many processes load pictures for a training; on the CPU the training itself does."""
    return 0 if args.device == "cpu" else min(8, (os.cpu_count() or 1) // args.jobs)


def align(family: str, taught: Future[None], source: str, args: argparse.Namespace) -> None:
    """Align a family's backbone to the teacher's on the source, unless that is done."""
    taught.result()
    file = args.out / f"yolov8n-{family}-aligned.pt"
    teacher = args.out / "teacher" / "weights" / "best.pt"
    if file.exists():
        return
    call(
        "yolo-backbones", "align", f"yolov8n-{family}.yaml", f"imgsz={args.imgsz}", f"batch={args.batch}",
        f"device={args.device}", f"workers={loaders(args)}", "amp=False",
        "--teacher", str(teacher), "--images", source, "--data", source, "--epochs", str(args.align_epochs),
        "--run", str(args.out / f"align-{family}"), "-o", str(file), log=f"align-{family}", args=args,
    )  # fmt: skip
    print(f"{family}: aligned, {without_label(family, args):.3f} on the source", flush=True)


def without_label(family: str, args: argparse.Namespace) -> float:
    """Return an aligned model's mAP50-95 on the source, which the command printed behind that before the alignment."""
    text = (args.out / f"align-{family}.log").read_text()
    return float(re.findall(r"^mAP50-95\(B\) +[\d.]+ +([\d.]+)", text, re.MULTILINE)[-1])


def make_small(taught: Future[None], teacher: Path, file: Path) -> None:
    """Write the teacher with a backbone's weights as small as those of an aligned one."""
    taught.result()
    resize(teacher, SHARE, file)


def resize(file: Path, share: float, out: Path) -> float:
    """Write a checkpoint with weights of another size; return what share of a map's deviation changed at most."""
    model = YOLO(file).model.float().eval()
    other = copy.deepcopy(model)
    scale.shrink(other, ROWS, share)
    checkpoint.write(other, out)
    image = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(junction.maps(model, image, ROWS), junction.maps(other, image, ROWS))
        return max(((x - y).square().mean().sqrt() / x.std()).item() for x, y in pairs)


def call(*command: str, log: str, args: argparse.Namespace) -> None:
    """Run a command of this Python's environment; end with its last words if it fails."""
    program = shutil.which(command[0], path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        sys.exit(f"transfer: no {command[0]} command beside this Python")
    threads = str(max((os.cpu_count() or 1) // args.jobs, 1))
    file = args.out / f"{log}.log"
    with open(file, "w") as out:
        code = subprocess.run(
            [program, *command[1:]],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        ).returncode
    if code:
        sys.exit(f"transfer: {log} ended with {code}; {file}:\n{file.read_text()[-1000:]}")


def scores(folder: Path) -> list[float]:
    """Return mAP50-95 after each epoch that a training was validated in."""
    with open(folder / "results.csv", newline="") as file:
        return [float(row[MAP]) for row in csv.DictReader(file, skipinitialspace=True)]


Found = dict[tuple[str, str, str], list[float]]  # mAP50-95 of each seed, by target, model and start


def before_labels(args: argparse.Namespace) -> Found:
    """Return what the teacher and those that were aligned to it reach on the source's validation pictures."""
    found = {(SOURCE, STOCK, SCRATCH): [max(scores(args.out / "teacher"))]}
    for family in args.families:
        found[SOURCE, f"yolov8n-{family}.yaml", ALIGNED] = [without_label(family, args)]
    return found


def after_labels(runs: Sequence[Run], folder: Path) -> Found:
    """Return what each start reaches on the targets."""
    found: Found = {}
    for run in runs:
        found.setdefault((run.target, run.model, run.start), []).append(scores(folder / run.name)[-1])
    return found


def report(found: Found, out: Path, machine: str) -> None:
    """Print and write a row for each target, model and start."""
    rows = []
    print(f"\n{'target':10} {'model':22} {'start':16} {'mAP50-95':>8} {'sd':>6} {'of stock fine-tuned':>20}")
    for (target, model, start), values in found.items():
        stock = statistics.mean(found[target, STOCK, SCRATCH if target == SOURCE else TUNED])
        share = statistics.mean(values) / stock if stock else float("nan")
        mean, deviation = statistics.mean(values), statistics.stdev(values) if values[1:] else float("nan")
        rows.append({
            "target": target, "model": Path(model).stem, "start": start, "seeds": len(values),
            "mAP50-95": round(mean, 4), "sd": round(deviation, 4), "ratio": round(share, 3),
        })  # fmt: skip
        print(f"{target:10} {Path(model).stem:22} {start:16} {mean:8.3f} {deviation:6.3f} {share:20.2f}")
    write_csv(out / "transfer.csv", rows, machine)


if __name__ == "__main__":
    main()
