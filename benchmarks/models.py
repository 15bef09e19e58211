"""Latency of each family, and of stock YOLO11 and YOLO26, against stock YOLOv8 at the same letter.

    python benchmarks/models.py                                  # n to x; torch, ONNX Runtime, OpenVINO; 10 minutes
    python benchmarks/models.py --scales n,s --backends onnx     # some of it
    python benchmarks/models.py --scales m --models yolov8.yaml my/yolov8-variant.yaml

Runs `yolo-backbones bench` on the models of each letter. Prints its tables and, last, the ratios; writes them to
`results/models.csv`, or to the folder of `--out` where only some of it ran.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from measure import RESULTS, cpu, write_csv
from rich.console import Console

from yolo_backbones import configs
from yolo_backbones.bench import BACKENDS, Row, Settings, cores, hardware, measure
from yolo_backbones.bench.table import complaints, table

FAMILIES = [path.name for path in sorted(configs.CFG.glob("yolov8-*.yaml"))]
MODELS = ["yolov8.yaml", *FAMILIES, "yolo11.yaml", "yolo26.yaml"]
REPEATS = {"n": 25, "s": 12, "m": 5, "l": 3, "x": 3}  # a forward at x takes thirty times one at n
COLUMNS = ("model", "backend", "parameters", "gflops", "median_ms", "quartile1_ms", "quartile3_ms", "ratio",
    "ratio_quartile1", "ratio_quartile3", "memory_mb", "rounds", "error")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="without scale letter; the first is the reference")
    parser.add_argument("--scales", default=",".join(REPEATS))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--repeats", type=int, help=f"default by letter: {REPEATS}")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--resume", action="store_true", help="go on from what --out holds")
    parser.add_argument("--out", type=Path, default=Path("runs/models"))
    args = parser.parse_args()

    scales, backends = args.scales.split(","), args.backends.split(",")
    # A screen's width would break the tables.
    console = Console(highlight=False, width=160)
    console.print(", ".join(f"{name} {value}" for name, value in hardware.describe().items()), soft_wrap=True)
    rows: list[Row] = []
    for scale in scales:
        settings = Settings(
            imgsz=args.imgsz,
            threads=args.threads,
            repeats=args.repeats or REPEATS[scale],
            warmup=1,
            before_fuse=False,
            simplify=False,  # ONNX Runtime and OpenVINO simplify by themselves when they load a file
        )
        models = [scaled(model, scale) for model in args.models]
        found = measure(models, backends, settings, args.out / scale, fresh=not args.resume)
        console.print(f"\n{scale}, {settings}", table(found), *complaints(found), sep="\n")
        rows += found
    print_ratios(rows, args.models, scales, backends)
    whole = (args.models, scales, backends) == (MODELS, list(REPEATS), list(BACKENDS))
    found = [{name: getattr(row, name) for name in COLUMNS} for row in rows]
    described = hardware.describe()
    versions = ", ".join(
        f"{name} {described[name]}" for name in ("torch", "onnxruntime", "openvino") if name in described
    )
    write_csv((RESULTS if whole else args.out) / "models.csv", found, f"{cpu(args.threads)}, {versions}")


def scaled(model: str, scale: str) -> str:
    """`yolov8-starnet.yaml` at scale n: `yolov8n-starnet.yaml`."""
    path = Path(model)
    return str(path.with_name(re.sub(r"^(yolov?\d+)", rf"\g<1>{scale}", path.name)))


def print_ratios(rows: Sequence[Row], models: Sequence[str], scales: Sequence[str], backends: Sequence[str]) -> None:
    """Return a line for each model, a column for each backend and letter."""
    ratios = {(row.backend, row.model): row.ratio for row in rows if row.ratio is not None}
    print(
        f"\n{'ratio of latency':24}"
        + "".join(f"{f'{backend} {scale}':>12}" for backend in backends for scale in scales)
    )
    for model in models:
        cells = [ratios.get((backend, scaled(model, scale))) for backend in backends for scale in scales]
        print(f"{Path(model).stem:24}" + "".join(f"{'' if cell is None else f'{cell:.2f}':>12}" for cell in cells))


if __name__ == "__main__":
    main()
