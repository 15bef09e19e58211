"""Measures what `yolo-backbones compare` itself costs: its scheduler, the state it saves, and its report.

    python benchmarks/compare_cost.py

Prints three figures. The scheduler: its processor time as a share of the time of the runs under way, which only
pretend and write a record each second. The state: seconds that saving it takes in each epoch. The report: seconds for a
thousand finished runs. Exits with 1 where the scheduler costs 1 % or more, or the report takes 10 seconds or more.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from yolo_backbones import shapes
from yolo_backbones.compare import live, process, schedule
from yolo_backbones.compare.plan import Plan
from yolo_backbones.compare.record import FINISHED, RUNS, Record

MOST_OF_A_RUN, MOST_SECONDS = 0.01, 10.0
MODELS, SEEDS, EPOCHS = 50, 20, 100
PRETENDER = """
import sys, time
from pathlib import Path
from yolo_backbones.compare.record import FINISHED, Record
folder, model, seed, device = sys.argv[1:]
record = Record.read(Path(folder), model, int(seed))
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    record.epochs += 1
    record.seconds += 1.0
    print("epoch", record.epochs, flush=True)
    record.write(Path(folder))
    time.sleep(1)
record.state = FINISHED
record.write(Path(folder))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="length of a run that pretends")
    parser.add_argument("--runs", type=int, default=4, help="such runs at once")
    args = parser.parse_args()
    share = scheduler(args.seconds, args.runs)
    print(f"scheduler: {share:.3%} of a core for each run under way")
    seconds, size = saving()
    print(f"state of yolov8n with AdamW: {seconds * 1e3:.0f} ms and {size / 1e6:.0f} MB an epoch")
    took = report()
    print(f"report of {MODELS * SEEDS} runs of {EPOCHS} epochs: {took:.1f} s")
    sys.exit(1 if share >= MOST_OF_A_RUN or took >= MOST_SECONDS else 0)


def scheduler(seconds: float, runs: int) -> float:
    """Return the processor time of the command by that of its runs: with the live table drawn, and runs waiting."""
    process._START = PRETENDER.format(seconds=seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / RUNS).mkdir()
        records = [Record(f"model{number}", 0) for number in range(runs)]
        waiting = [Record(f"waiting{number}", 0) for number in range(30)]
        console = Console(file=io.StringIO(), force_terminal=True, width=120, height=50)
        with Live(console=console, auto_refresh=False) as drawn:
            view = live._Table(drawn, folder, [*records, *waiting], 100, runs)
            start, begun = time.process_time(), time.perf_counter()
            schedule.run(folder, records, [("cpu", 1)] * runs, 1000, view.show, view.ended)
            return (time.process_time() - start) / (time.perf_counter() - begun) / runs


def saving() -> tuple[float, int]:
    """Return the seconds that saving the state of an epoch takes, and the bytes that it has."""
    from ultralytics import YOLO

    from yolo_backbones.compare.worker import snapshot

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes.draw(folder / "shapes", train=8, val=4, imgsz=64)
        data = folder / "data.yaml"
        data.write_text(
            f"path: {folder / 'shapes'}\ntrain: images/train\nval: images/val\nnames: {list(shapes.CLASSES)}\n"
        )
        model, took = YOLO("yolov8n.yaml"), []

        def save(trainer: object) -> None:
            start = time.perf_counter()
            snapshot.save(trainer)
            took.append(time.perf_counter() - start)

        model.add_callback("on_model_save", save)
        model.train(
            data=str(data), epochs=5, imgsz=64, batch=4, optimizer="AdamW", plots=False, device="cpu", verbose=False,
            project=str(folder), name="run", trainer=snapshot.counting(model.task_map[model.task]["trainer"]),
        )  # fmt: skip
        return sorted(took)[len(took) // 2], (folder / "run" / snapshot.FILE).stat().st_size


def report() -> float:
    """Return the seconds that the report of a thousand finished runs takes."""
    from yolo_backbones.compare.report import write

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finished_runs(folder)
        start = time.perf_counter()
        write(folder)
        return time.perf_counter() - start


def finished_runs(folder: Path) -> None:
    """Write plan, records and curves of a comparison, with figures that rise over the epochs and differ a little."""
    models = [
        {"name": f"model{i}", "source": f"model{i}.yaml", "config": {}, "hash": str(i), "parameters": 10**6 * (i + 1)}
        for i in range(MODELS)
    ]
    names = [f"class{i}" for i in range(20)]
    data = {"path": "data.yaml", "hash": "0", "names": names, "train": 1000, "val": 100}
    Plan(models, list(range(SEEDS)), {"imgsz": 640}, "detect", data, EPOCHS).write(folder)
    keys = ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    for i, model in enumerate(models):
        for seed in range(SEEDS):
            best = 0.3 + 0.005 * i + 0.001 * (7 * seed % 5)
            Record(
                model["name"], seed, FINISHED, "detect", EPOCHS, attempts=1, seconds=100.0 + seed, memory=1000.0,
                device="GPU", parameters=model["parameters"], gflops=8.0 + i, parameters_fused=model["parameters"],
                gflops_fused=8.0 + i, metrics=dict.fromkeys(keys, best), classes=dict.fromkeys(names, best), images=100,
            ).write(folder)  # fmt: skip
            rows = [
                ",".join(map(str, [epoch, epoch * 1.0, *[best * epoch / EPOCHS] * len(keys)]))
                for epoch in range(1, EPOCHS + 1)
            ]
            curves = folder / RUNS / f"{model['name']}-seed{seed}" / "results.csv"
            curves.write_text("\n".join([",".join(["epoch", "time", *keys]), *rows]) + "\n")


if __name__ == "__main__":
    main()
