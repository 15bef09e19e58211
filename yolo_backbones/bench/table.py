"""Table of the rows on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from .results import Row


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _from_to(low: float | None, high: float | None, form: str) -> str:
    return f"{low:{form}}-{high:{form}}" if low is not None and high is not None else ""


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.model,
    "backend": lambda row: row.backend,
    "params (M)": lambda row: _number(row.parameters and row.parameters / 1e6, ".2f"),
    "GFLOPs": lambda row: _number(row.gflops, ".3g"),
    "before fuse (ms)": lambda row: _number(row.before_fuse_ms, ".1f"),
    "median (ms)": lambda row: _number(row.median_ms, ".1f"),
    "quartiles": lambda row: _from_to(row.quartile1_ms, row.quartile3_ms, ".1f"),
    "fastest": lambda row: _number(row.fastest_ms, ".1f"),
    "ratio": lambda row: _number(row.ratio, ".2f"),
    "its quartiles": lambda row: _from_to(row.ratio_quartile1, row.ratio_quartile3, ".2f"),
    "memory (MB)": lambda row: _number(row.memory_mb, ".0f"),
    "mAP50-95": lambda row: _number(row.map50_95, ".3f"),
}


def table(rows: Sequence[Row]) -> Table:
    """Return a table of the measured rows, without the columns that none of them fills."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    measured = [row for row in rows if row.rounds]
    cells = {title: [cell(row) for row in measured] for title, cell in _COLUMNS.items()}
    filled = {title: column for title, column in cells.items() if any(column)}
    for title in filled:
        shown.add_column(title, justify="left" if title in {"model", "backend"} else "right", overflow="fold")
    for line in zip(*filled.values()):
        shown.add_row(*map(Text, line))
    return shown


def complaints(rows: Iterable[Row]) -> Iterator[str]:
    """Return a line for each row that failed."""
    return (f"{row.model}, {row.backend}: {row.error}" for row in rows if row.error)
