"""Writes the table and the plot of docs/choose.md: what a published backbone costs, and how well it classifies.

    python benchmarks/choose.py

What a network costs is read from the package's table, which `benchmarks/sweep.py` writes. One that merges more than
BatchNorm once it is trained is counted merged.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from yolo_backbones import catalogue
from yolo_backbones.catalogue import Entry
from yolo_backbones.families import families

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "choose.md", DOCS / "images" / "choose.png"
START, END = "<!-- written by benchmarks/choose.py -->", "<!-- end -->"
# Colours that differ for the colour-blind as well (Okabe and Ito), and markers that differ without colours.
STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
    ("#000000", "X")]  # fmt: skip


def published() -> list[Entry]:
    """Return our published networks as they run, family by family, small ones first."""
    found = [as_it_runs(entry) for entry in catalogue.entries().values() if entry.source == "own"]
    return sorted(found, key=lambda entry: (list(families()).index(entry.family), entry.parameters))


def as_it_runs(entry: Entry) -> Entry:
    if not entry.merges:
        return entry
    with torch.device("meta"), torch.no_grad():
        network = families()[entry.family].variants[entry.name].build().eval()
        network.merge()
        network.drop_classifier()
        with FlopCounterMode(display=False) as counter:
            network.forward_features(torch.empty(1, 3, 640, 640))
    parameters = sum(p.numel() for p in network.parameters())
    return dataclasses.replace(entry, parameters=parameters, gflops=counter.get_total_flops() / 1e9)


def table(entries: Sequence[Entry]) -> Iterator[str]:
    """Return the lines of the Markdown table."""
    yield "| backbone | parameters (M) | GFLOPs | channels at P3, P4, P5 | top-1 | weights |"
    yield "|---|---|---|---|---|---|"
    for entry in entries:
        width = dict(zip(entry.strides, entry.channels))
        channels = ", ".join(str(width[s]) for s in (8, 16, 32)) if {8, 16, 32} <= set(width) else "for `-cls` alone"
        top1 = "" if entry.top1 is None else f"{entry.top1:.1f}"
        tags = ", ".join(f"`.{tag}`" for tag in entry.tags)
        cost = f"{entry.parameters / 1e6:.2f} | {entry.gflops:.3g}"
        yield f"| `{entry.name}` | {cost} | {channels} | {top1} | {tags} |"


def plot(entries: Sequence[Entry], file: Path) -> None:
    """Top-1 against parameters and against GFLOPs, a line for each family."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for axis, (value, label) in zip(
        axes,
        [(lambda e: e.parameters / 1e6, "parameters of the backbone (M)"), (lambda e: e.gflops, "GFLOPs at 640 px")],
    ):
        for family, (colour, marker) in zip(families().values(), itertools.cycle(STYLES)):
            known = [e for e in entries if e.top1 and {8, 16, 32} <= set(e.strides) and e.family == family.name]
            if not known:
                continue
            known.sort(key=value)
            axis.plot(
                [value(e) for e in known],
                [e.top1 for e in known],
                color=colour,
                marker=marker,
                label=family.title,
                linestyle="-" if len(known) > 1 else "none",
            )
            for entry in known:
                axis.annotate(
                    entry.name.removeprefix(f"{family.title.lower()}_"),
                    (value(entry), entry.top1),
                    xytext=(5, -10) if len(known) > 1 else (-20, 8),
                    textcoords="offset points",
                    fontsize=8,
                    color=colour,
                )
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ImageNet-1k top-1, as published (%)")
    axes[1].legend(loc="lower right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    lines = "\n".join(table(published()))
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    PAGE.write_text(f"{before}{START}\n{lines}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    plot(published(), PLOT)
    print(lines)
    print(f"written into {PAGE.relative_to(DOCS.parent)} and {PLOT.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
