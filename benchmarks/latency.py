"""Latency of each family against stock YOLOv8 at the same scale, on ONNX Runtime's CPU provider.

    python benchmarks/latency.py                    # n and s, 640 px
    python benchmarks/latency.py --scales m --models yolov8.yaml my/yolov8-variant.yaml

Models are exported by `yolo export` in processes of their own, so that this one holds ONNX Runtime and nothing else,
and timed in turn, A B C A B C, so that a machine that slows down slows all of them. Prints the median, its spread over
the repeats and the ratio to the first model's median; writes them to `latency.csv`.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

MODELS = ["yolov8.yaml", "yolov8-starnet.yaml", "yolov8-fasternet.yaml", "yolov8-vanillanet.yaml", "yolov8-skconv.yaml"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="without scale letter; the first is the reference")
    parser.add_argument("--scales", default="ns")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("runs/latency"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    print(f"{processor()}, {args.threads} threads, ONNX Runtime {onnxruntime.__version__}, {args.imgsz} px, batch 1")
    print(f"{'model':24} {'median ms':>10} {'fastest':>9} {'slowest':>9} {'of stock':>9}")
    rows = []
    for scale in args.scales:
        files = {m: export(m, scale, args.imgsz, args.out) for m in args.models}
        times = race({m: session(file, args.threads) for m, file in files.items()}, args.imgsz, args.repeats)
        stock = statistics.median(times[args.models[0]])
        for m, seconds in times.items():
            median = statistics.median(seconds)
            row = {
                "model": Path(scaled(m, scale)).stem, "median_ms": round(median * 1e3, 1),
                "fastest_ms": round(min(seconds) * 1e3, 1), "slowest_ms": round(max(seconds) * 1e3, 1),
                "ratio": round(median / stock, 3),
            }  # fmt: skip
            print(
                "{model:24} {median_ms:10.1f} {fastest_ms:9.1f} {slowest_ms:9.1f} {ratio:9.2f}".format(**row),
                flush=True,
            )
            rows.append(row)
    with open(args.out / "latency.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(args.out / "latency.csv")


def processor() -> str:
    """The processor's name, for the table's heading."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def scaled(model: str, scale: str) -> str:
    """`yolov8-starnet.yaml` at scale n: `yolov8n-starnet.yaml`."""
    path = Path(model)
    return str(path.with_name(re.sub(r"^(yolov?\d+)", rf"\g<1>{scale}", path.name)))


def export(model: str, scale: str, imgsz: int, out: Path) -> Path:
    """Exports a freshly initialised model; weights do not change what it costs."""
    file = out / Path(scaled(model, scale)).with_suffix(".onnx").name
    yolo = shutil.which("yolo", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    command = [yolo or "yolo", "export", f"model={Path(scaled(model, scale))}", "format=onnx", f"imgsz={imgsz}"]
    done = subprocess.run(command, capture_output=True, text=True)
    written = Path(scaled(model, scale)).with_suffix(".onnx")
    if done.returncode or not written.exists():
        sys.exit(f"latency: {' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    shutil.move(written, file)
    return file


def session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """Loads a model; its idle threads do not spin, which would slow the next one's turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def race(sessions: dict[str, onnxruntime.InferenceSession], imgsz: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, in turn, after two that do not count."""
    image = np.random.default_rng(0).random((1, 3, imgsz, imgsz), np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for i in range(repeats + 2):
        for name, model in sessions.items():
            start = time.perf_counter()
            model.run(None, {model.get_inputs()[0].name: image})
            if i >= 2:
                times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
