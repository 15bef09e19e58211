"""Scatter plot of latency against accuracy or size, with the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from .results import Row

_FRONT, _POINT = "#D55E00", "#0072B2"  # colours that differ for the colour-blind as well (Okabe and Ito)
RING: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}  # a front of one point has no line
_SMALL = 8
_DIRECTIONS = [math.tau * step / 12 for step in range(12)]
_DISTANCES = range(10, 200, 10)  # pixels
_RADIUS = 8


@dataclass(frozen=True)
class Point:
    """A model in a panel.

    Attributes:
        name: its label.
        x: latency in ms; `low` and `high` are its quartiles.
        y: mAP50-95, or millions of parameters.
    """

    name: str
    x: float
    y: float
    low: float
    high: float


def pareto_front(points: Sequence[tuple[float, float]], highest: bool) -> list[int]:
    """Return the indices of the points that no other beats, sorted by the first coordinate.

    Args:
        points: pairs of coordinates; a lower first one is better.
        highest: True if a higher second coordinate is better.
    """
    sign = -1 if highest else 1
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1])):
        if not front or sign * points[i][1] < sign * points[front[-1]][1]:
            front.append(i)
    return front


def scatter(rows: Sequence[Row], file: Path) -> None:
    """Draw latency against mAP or, where no row has one, parameters; a panel for each backend."""
    by_map = any(row.map50_95 is not None for row in rows)
    panels: dict[str, list[Point]] = {}
    for row in rows:
        point = _point(row, by_map)
        if point:
            panels.setdefault(row.backend, []).append(point)
    if not panels:
        return
    figure = Figure(figsize=(1 + 6 * len(panels), 5), dpi=130, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    every_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (backend, points) in zip(every_axes, panels.items()):
        _draw(axes, points, by_map)
        axes.set_title(backend)
        axes.set_xlabel("latency (ms), bars from quartile to quartile")
    every_axes[0].set_ylabel("mAP50-95" if by_map else "parameters (M)")
    canvas.draw()
    figure.set_layout_engine("none")  # keeps the axes where they are while labels are placed
    for axes, points in zip(every_axes, panels.values()):
        write_names(axes, canvas, points)
    canvas.print_figure(file)


def _point(row: Row, by_map: bool) -> Point | None:
    y = row.map50_95 if by_map else row.parameters
    if y is None or row.median_ms is None or row.quartile1_ms is None or row.quartile3_ms is None:
        return None
    path = Path(row.model)
    # Every training's checkpoint is called best.pt, so its folder gives the name.
    name = path.parents[1].name if path.parent.name == "weights" else path.stem
    return Point(name, row.median_ms, y if by_map else y / 1e6, row.quartile1_ms, row.quartile3_ms)


def _draw(axes: Axes, points: Sequence[Point], by_map: bool) -> None:
    front = [points[i] for i in pareto_front([(point.x, point.y) for point in points], highest=by_map)]
    axes.plot(
        [point.x for point in front], [point.y for point in front], color=_FRONT, label="Pareto front", zorder=2, **RING
    )
    x, y = [point.x for point in points], [point.y for point in points]
    axes.hlines(y, [point.low for point in points], [point.high for point in points], color="0.6", zorder=1)
    axes.scatter(x, y, color=_POINT, zorder=3)
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=_SMALL)


def write_names(axes: Axes, canvas: FigureCanvasAgg, points: Sequence[Point], lines: Sequence[BboxBase] = ()) -> None:
    """Write each name at the nearest place that is free of points, other names, the legend and `lines`, in pixels."""
    taken = [*lines, *(_bar(axes, point) for point in points)]
    legend = axes.get_legend()
    taken += [legend.get_window_extent()] if legend else []
    frame = axes.get_window_extent()
    for point in points:
        label = axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=(0, 0),
            textcoords="offset pixels",
            ha="center",
            va="center",
            fontsize=_SMALL,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkB": 4},
        )
        label.update_positions(canvas.get_renderer())
        start = Text.get_window_extent(label, canvas.get_renderer())  # an annotation's own extent includes the arrow
        for distance, angle in itertools.product(_DISTANCES, _DIRECTIONS):
            # Measured from the label's edge, so that long names come as near as short ones.
            across = math.cos(angle) * (distance + start.width / 2)
            up = math.sin(angle) * (distance + start.height / 2)
            box = start.translated(across, up)
            inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        label.set_position((across, up))
        taken.append(box)


def _bar(axes: Axes, point: Point) -> Bbox:
    """Return the pixels that a point and its quartiles cover."""
    (left, middle), (right, _) = axes.transData.transform([(point.low, point.y), (point.high, point.y)])
    return Bbox.from_extents(left - _RADIUS, middle - _RADIUS, right + _RADIUS, middle + _RADIUS)
