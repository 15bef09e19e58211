"""`yolo-backbones compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import training_arguments
from .output import PROGRAM, console, fail, told_in_one_line


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... [KEY=VALUE...]",
            help="What YOLO() takes: yolov8n-starnet.yaml, best.pt. The others are held to the first. Then arguments "
            "of `yolo train` for all of them: imgsz=320 optimizer=SGD.",
        ),
    ],
    data: Annotated[str, typer.Option(metavar="YAML", help="Data set, as `yolo train` takes it.")],
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Each model is trained so often, with other random numbers.")] = 3,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For the runs and the report.")] = Path("runs/compare"),
    devices: Annotated[
        str, typer.Option(help="cpu, or GPUs as 0,1: one run on each at a time.", show_default="GPU 0, or cpu")
    ] = "",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="On the CPU: runs at once, which share its cores.", show_default="1")
    ] = None,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of a Ray cluster that does the runs, or auto.", show_default=False)
    ] = "",
    cpus: Annotated[
        int | None, typer.Option(min=1, help="On Ray: processors of a run, in place of a GPU.", show_default=False)
    ] = None,
    storage: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="On Ray: where all nodes find what a run needs to go on.",
            show_default="DIR/ray",
        ),
    ] = "",
    stall: Annotated[
        float, typer.Option(metavar="MINUTES", min=0.01, help="A run that prints nothing for so long is ended.")
    ] = 30,
    latency: Annotated[bool, typer.Option("--latency", help="Time the models at the end, as bench does.")] = False,
) -> None:
    """Train models alike, several seeds each, and report what differs.

    Each run is a `yolo train` in a process of its own. A finished run is not trained again; one that was stopped goes
    on from its last epoch when the same command is called again.
    """
    with told_in_one_line():
        from .. import compare as comparison  # slow
        from ..compare import preflight

        names = [word for word in models if not training_arguments.is_pair(word)]
        pairs = [word for word in models if training_arguments.is_pair(word)]
        if not names:
            fail("no model is named; name at least one, as yolov8n.yaml", code=2)
        if (cpus is not None or storage) and not ray:
            fail("--cpus and --storage are for --ray; leave them out, or give --ray auto", code=2)
        with comparison.quiet():
            arguments = training_arguments.read(pairs, preflight.OWNED)
        where = comparison.Where(devices, jobs, stall * 60, ray, cpus, storage)
        try:
            records = comparison.compare(names, data, epochs, range(seeds), arguments, out, where, latency, _tell)
        except KeyboardInterrupt:
            fail(f"stopped; {out} holds what is done, and the same command goes on from there", code=130)
        from ..compare.report.tables import console_table

        console().print(console_table(out))
    for record in comparison.failed(records):
        print(f"{record.name} failed: {record.error}; its log is {comparison.log_of(out, record)}")
    print(f"\n{out / 'report.md'}")
    raise typer.Exit(1 if comparison.failed(records) else 0)


def _tell(doubt: str) -> None:
    typer.echo(f"{PROGRAM}: {' '.join(doubt.split())}", err=True)
