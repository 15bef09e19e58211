"""`yolo-backbones align`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .. import names
from . import training_arguments
from .output import console, fail, told_in_one_line

if TYPE_CHECKING:
    from ..align import Alignment

_MAP = "mAP50-95"


def align(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The teacher's detector with another backbone: yolov8n-starnet.yaml.")
    ],
    teacher: Annotated[
        str, typer.Option(metavar="PT", help="A trained checkpoint of the detector: yolov8n.pt.", show_default=False)
    ],
    images: Annotated[
        list[str],
        typer.Option(
            metavar="PATH",
            help="Pictures, without labels: a folder, a glob in quotes, a list in a .txt, or a data set's YAML. May be "
            "given several times.",
            show_default=False,
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Arguments of `yolo train`: imgsz=320 batch=16 device=0."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PT", help="Checkpoint to write.", show_default=False)
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 30,
    data: Annotated[
        str, typer.Option(metavar="YAML", help="Data set to measure mAP on, before and after.", show_default=False)
    ] = "",
    adapters: Annotated[
        bool, typer.Option("--adapters", help="Put 1x1 convolutions behind maps of other channels; they stay.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For the training.", show_default="runs/align/MODEL")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop what DIR holds, instead of going on from it.")] = False,
) -> None:
    """Give a detector with another backbone what a trained one knows, from pictures without labels.

    Draws the maps of the new backbone to those of the teacher's, and takes over the teacher's neck and head. The
    checkpoint trains, validates and exports like any other. A run that was stopped goes on where it was.
    """
    stem = names.stem_of(model)
    output = output or Path(f"{stem}-aligned.pt")
    run = run or Path("runs/align") / stem
    with told_in_one_line():
        if output.suffix != ".pt":
            raise ValueError(f"the checkpoint {output} has to end with .pt, as Ultralytics asks")
        from ..align import OWNED, align  # slow

        given = training_arguments.read(arguments or [], (*OWNED, "epochs"))
        try:
            found = align(model, teacher, images, output, run, data, adapters, fresh, {**given, "epochs": epochs})
        except KeyboardInterrupt:
            fail(f"stopped; {run} holds what is done, and the same command goes on from there", code=130)
    console().print(_table(found))
    print(f"\n{output}: yolo train model={output} data=mine.yaml")


def _table(found: Alignment) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "before", "after"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for name, before in found.before.items():
        table.add_row(f"{name}, unexplained of the teacher's map", f"{before:.3f}", f"{found.after[name]:.3f}")
    for key, before in found.metrics_before.items():
        if _MAP in key:
            table.add_row(key.removeprefix("metrics/"), f"{before:.3f}", f"{found.metrics_after[key]:.3f}")
    return table
