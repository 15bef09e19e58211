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

from compare_report import folder_of
from rich.console import Console
from rich.live import Live

from yolo_backbones import shapes
from yolo_backbones.compare import live, process, schedule
from yolo_backbones.compare.record import RUNS, Record
from yolo_backbones.compare.report import write

MOST_OF_A_RUN, MOST_SECONDS = 0.01, 10.0
MODELS, SEEDS, EPOCHS, CLASSES = 200, 5, 100, 80
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
    from ultralytics.utils import LOGGER

    from yolo_backbones.compare.worker import snapshot

    LOGGER.setLevel("WARNING")
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
    with tempfile.TemporaryDirectory() as name:
        folder_of(Path(name), MODELS, SEEDS, EPOCHS, CLASSES)
        start = time.perf_counter()
        write(Path(name))
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
