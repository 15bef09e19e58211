"""The plots: curves of the training, accuracy against cost, AP by class. Each as PNG and, for a paper, as PDF."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from ...bench.plot import RING, Point, pareto_front, write_names
from ...leftovers import replacing
from . import fonts, metrics
from .read import Comparison
from .statistics import Summary

# Okabe and Ito's colours, which differ for the colour-blind as well; black is the reference's.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLES = ("-", "--", ":")
NAMED = len(_COLOURS) * len(_STYLES)  # models with a colour of their own, beside the reference
LABELLED = 24  # points of the scatter up to which each has its name; among more, some of the front
FRONT = 10  # names along the front then
ROWS, COLUMNS = 120, 30  # of the heat map
_WRITTEN = 12  # columns up to which the cells hold their figures
_SMALL = 8


def draw(comparison: Comparison, summaries: Sequence[Summary]) -> list[str]:
    """Draw what there is data for into the comparison's folder and return the names of the pictures, without suffix."""
    scored = [row for row in summaries if comparison.metrics and comparison.metrics[0] in row.means]
    plots = {"curves": _curves, "cost": _cost, "classes": _classes}
    drawn = []
    for name, plot in plots.items():
        figure = plot(comparison, scored)
        if figure is not None:
            _save(figure, comparison.folder / name)
            drawn.append(name)
    return drawn


def best(rows: Sequence[Summary], key: str, reference: str, count: int) -> list[Summary]:
    """Return the reference and the `count` best others, in the plan's order."""
    others = sorted((row for row in rows if row.model != reference), key=lambda row: -row.means[key])[:count]
    names = {reference, *(row.model for row in others)}
    return [row for row in rows if row.model in names]


def _save(figure: Figure, file: Path) -> None:
    # Not by `savefig`, which lays a figure out by drawing all of it once more.
    with fonts.chosen():
        with replacing(file.with_suffix(".png")) as part:
            FigureCanvasAgg(figure).print_png(part)
        figure.set_layout_engine("none")  # the second is laid out as the first
        with replacing(file.with_suffix(".pdf")) as part:
            FigureCanvasPdf(figure).print_pdf(part)


def _colours(comparison: Comparison, rows: Sequence[Summary]) -> dict[str, tuple[str, str]]:
    """Return colour and line style of the reference and the best of the others."""
    key = comparison.metrics[0]
    chosen = [row.model for row in best(rows, key, comparison.reference, NAMED) if row.model != comparison.reference]
    looks = {name: (_COLOURS[i % len(_COLOURS)], _STYLES[i // len(_COLOURS)]) for i, name in enumerate(chosen)}
    return {comparison.reference: ("black", "-"), **looks}


def _curves(comparison: Comparison, rows: Sequence[Summary]) -> Figure | None:
    """Draw the primary metric on the validation split by epoch: the mean, in a band from the worst seed to the best."""
    if not rows or comparison.metrics[0] not in comparison.curves:
        return None
    key, looks = comparison.metrics[0], _colours(comparison, rows)
    finished = {(row.model, seed) for row in rows for seed in row.seeds}
    table = comparison.curves
    table = table[[run in finished for run in zip(table["model"], table["seed"])]]
    by_epoch = table.groupby(["model", "epoch"], sort=True)[key].agg(["mean", "min", "max"])
    figure = Figure(figsize=(7, 4.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    handles, labels = [], []
    for name in dict.fromkeys(by_epoch.index.get_level_values("model")):
        curve = by_epoch.loc[name]
        colour, style = looks.get(name, ("0.85", "-"))
        order = 4 if name == comparison.reference else 3 if name in looks else 1
        (line,) = axes.plot(curve.index, curve["mean"], color=colour, linestyle=style, zorder=order, linewidth=1.5)
        if name in looks:
            axes.fill_between(curve.index, curve["min"], curve["max"], color=colour, alpha=0.15, linewidth=0, zorder=2)
            handles.append(line)
            labels.append(name)
    order_of = {row.model: i for i, row in enumerate(rows)}
    ranked = sorted(zip(labels, handles), key=lambda pair: order_of[pair[0]])
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"{metrics.label(key)}, validation")
    axes.grid(alpha=0.3)
    names = [fonts.plain(name) for name, _ in ranked]
    figure.legend([line for _, line in ranked], names, loc="outside right upper", fontsize=_SMALL, frameon=False)
    return figure


def _cost(comparison: Comparison, rows: Sequence[Summary]) -> Figure | None:
    """Draw the primary metric against latency or, unless every model was timed, parameters, with the Pareto front."""
    timed = all(row.latency_ms is not None for row in rows)
    costs = [row.latency_ms if timed else row.parameters and row.parameters / 1e6 for row in rows]
    points, spreads, key = [], [], comparison.metrics[0] if comparison.metrics else ""
    for row, cost in zip(rows, costs):
        if cost is not None:
            points.append(Point(fonts.plain(row.model), cost, row.means[key], cost, cost))
            spreads.append(row.deviations.get(key, 0.0))
    if not points:
        return None
    figure = Figure(figsize=(7, 5), dpi=130, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    front = [points[i] for i in pareto_front([(point.x, point.y) for point in points], highest=True)]
    colour = _COLOURS[1]
    axes.step(
        [p.x for p in front], [p.y for p in front], where="post", color=colour, label="Pareto front", zorder=2, **RING
    )
    reference = fonts.plain(comparison.reference)
    colours = ["black" if point.name == reference else _COLOURS[0] for point in points]
    x, y = [point.x for point in points], [point.y for point in points]
    axes.errorbar(x, y, yerr=spreads, fmt="none", ecolor="0.6", zorder=1)
    few = len(points) <= LABELLED
    sizes = [36 if few or point.name == reference else 9 for point in points]
    axes.scatter(x[::-1], y[::-1], s=sizes[::-1], color=colours[::-1], zorder=3)  # the reference on top
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.set_xlabel("latency (ms)" if timed else "parameters (M)")
    axes.set_ylabel(f"{metrics.label(key)}, bars of one standard deviation")
    axes.legend(loc="best", fontsize=_SMALL)
    with fonts.chosen():
        canvas.draw()
        figure.set_layout_engine("none")  # keeps the axes where they are while names are placed
        named = points if few else _spread([point for point in points if point.name == reference], front)
        write_names(axes, canvas, named, _edges(axes, front))
    return figure


def _spread(first: Sequence[Point], front: Sequence[Point]) -> list[Point]:
    """Return `first` and as many points of a front, at even distances along it, as names have room for."""
    step = max(1, math.ceil(len(front) / FRONT))
    return list(dict.fromkeys([*first, *front[::-step]]))


def _edges(axes: Axes, front: Sequence[Point]) -> list[Bbox]:
    """Return the steps of a front in pixels, a little wider than they are drawn."""
    x, y = np.repeat([point.x for point in front], 2)[1:], np.repeat([point.y for point in front], 2)[:-1]
    corners = axes.transData.transform(np.column_stack([x, y]))
    return [Bbox([np.minimum(a, b), np.maximum(a, b)]).padded(2) for a, b in itertools.pairwise(corners)]


def _classes(comparison: Comparison, rows: Sequence[Summary]) -> Figure | None:
    """Draw the mean AP of each class and model as a heat map, classes from top to bottom."""
    rows = [row for row in rows if row.classes]
    if not rows:
        return None
    shown = best(rows, comparison.metrics[0], comparison.reference, COLUMNS - 1)
    found = {name for row in shown for name in row.classes}
    names = [str(name) for name in comparison.plan["data"]["names"] if name in found]
    names = [*names, *sorted(found - set(names))][:ROWS]
    values = np.array([[row.classes.get(name, np.nan) for row in shown] for name in names])
    written = len(shown) <= _WRITTEN
    longest = max(len(row.model) for row in shown)  # written aslant under the map
    width, height = 3 + (0.62 if written else 0.3) * len(shown), 1 + 0.05 * longest + 0.2 * max(len(names), 4)
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap=colormaps["cividis"], aspect="auto", vmin=0, vmax=max(np.nanmax(values), 1e-9))
    axes.set_xticks(range(len(shown)), [fonts.plain(row.model) for row in shown], rotation=45, ha="right", fontsize=8)
    axes.get_xticklabels()[0].set_fontweight("bold" if shown[0].model == comparison.reference else "normal")
    index = {str(name): i for i, name in enumerate(comparison.plan["data"]["names"])}
    axes.set_yticks(range(len(names)), [fonts.plain(name, index.get(name)) for name in names], fontsize=_SMALL)
    if written:
        _figures(axes, values)
    axes.set_title("AP50-95, mean over seeds", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=min(1, 4 / height))
    return figure


def _figures(axes: Axes, values: np.ndarray) -> None:
    middle = np.nanmax(values) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
