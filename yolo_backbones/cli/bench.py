"""`yolo-backbones bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from .output import console, fail, told_in_one_line


def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="What YOLO() takes: yolov8n-starnet.yaml, best.pt. Ratios: to the first."
        ),
    ],
    imgsz: Annotated[int, typer.Option(help="Height and width of the image.")] = 640,
    batch: Annotated[int, typer.Option(help="Images in one forward.")] = 1,
    backend: Annotated[str, typer.Option(metavar="NAMES", help="Of torch,onnx,openvino.")] = "torch",
    device: Annotated[str, typer.Option(help="cpu, or the number of a GPU.")] = "cpu",
    data: Annotated[
        str, typer.Option(metavar="YAML", help="Validate checkpoints on it, for their mAP.", show_default=False)
    ] = "",
    repeats: Annotated[int, typer.Option(help="Forwards that count.")] = 20,
    threads: Annotated[int | None, typer.Option(help="On the CPU.", show_default="physical cores")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For bench.csv, .json and .png.")] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop what DIR holds, instead of going on from it.")] = False,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For loading a model, its export, or a forward.")
    ] = 600,
) -> None:
    """Compare models: latency, memory, parameters, mAP.

    Times the network's forward alone, without pre- and postprocessing, on one random image in 0..1. All models of a
    backend take turns, each in a process of its own. A run that was stopped goes on where it was.
    """
    with told_in_one_line():
        from .. import bench as benchmark  # slow
        from ..bench import table

        used = benchmark.cores() if threads is None else threads
        settings = benchmark.Settings(imgsz=imgsz, batch=batch, device=device, threads=used, repeats=repeats)
        try:
            rows = benchmark.measure(models, backend.split(","), settings, out, data, fresh, time_limit)
        except KeyboardInterrupt:
            fail(f"stopped; {out} holds what is done, and the same command goes on from there", code=130)
    printer = console()
    printer.print(table.table(rows))
    for complaint in table.complaints(rows):
        printer.print(Text(complaint, style="red"), soft_wrap=True)
    print(f"\n{out / 'bench.csv'}, bench.json, bench.png")
    raise typer.Exit(1 if any(row.error for row in rows) else 0)
