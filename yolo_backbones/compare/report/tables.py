"""The table of means: on the screen, as Markdown, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from . import metrics
from .read import Comparison, read
from .statistics import Difference, Summary, summarise

MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"

_MARKDOWN = re.compile(r"([\\`*_<>|~#])")
# What pdfLaTeX has only in mathematics; the text around it is escaped by pandas.
_MATHEMATICS = {"±": r"$\pm$", MINUS: "$-$"}
_TIMES = {"h": 3600, "min": 60, "s": 1}
_LEFT = 1  # columns, from the first, that hold text


def number(value: float | None, form: str = ".4f") -> str:
    """Return a number as text, with a true minus sign; MISSING for None."""
    return MISSING if value is None else format(value, form).replace("-", MINUS)


def interval(difference: Difference | None) -> str:
    """Return an interval as text; with one seed, that there is none."""
    if difference is None:
        return MISSING
    if difference.low is None:
        return "none (1 seed)"
    return f"[{number(difference.low, '+.4f')}, {number(difference.high, '+.4f')}]"


def frame(comparison: Comparison, summaries: Sequence[Summary]) -> pd.DataFrame:
    """Return the table as text, a row for each model; columns that nobody fills are left out."""
    primary = comparison.metrics[0] if comparison.metrics else ""
    planned = len(comparison.plan["seeds"])
    unit = _unit(summaries)
    columns: dict[str, Callable[[Summary], str]] = {
        "model": lambda row: row.model,
        "seeds": lambda row: str(planned) if len(row.seeds) == planned else f"{len(row.seeds)} of {planned}",
    }
    for key in comparison.metrics:
        columns[metrics.label(key)] = lambda row, key=key: _mean(row, key)  # type: ignore[misc]
    columns |= {
        "difference": lambda row: _difference(row, primary, comparison.reference),
        "95% interval": lambda row: interval(row.differences.get(primary)),
        "params (M)": lambda row: number(row.parameters and row.parameters / 1e6, ".2f"),
        "GFLOPs": lambda row: number(row.gflops, ".1f"),
        "latency (ms)": lambda row: number(row.latency_ms, ".1f"),
        f"training ({unit})": lambda row: number(row.seconds and row.seconds / _TIMES[unit], ".1f"),
        "memory (MiB)": lambda row: number(row.memory, ".0f"),
    }
    cells = {title: [cell(row) for row in summaries] for title, cell in columns.items()}
    return pd.DataFrame({title: column for title, column in cells.items() if set(column) != {MISSING}})


def _unit(summaries: Sequence[Summary]) -> str:
    longest = max((row.seconds or 0 for row in summaries), default=0)
    return next((unit for unit, seconds in _TIMES.items() if longest >= 2 * seconds), "s")


def _mean(row: Summary, key: str) -> str:
    spread = f" ± {number(row.deviations[key])}" if key in row.deviations else ""
    return number(row.means.get(key)) + spread


def _difference(row: Summary, key: str, reference: str) -> str:
    if row.model == reference:
        return "reference"
    difference = row.differences.get(key)
    return number(difference.mean, "+.4f") if difference else MISSING


def console_table(folder: Path) -> Table:
    """Return the table of a comparison's folder for the terminal.

    Raises:
        FileNotFoundError: the folder holds no plan.
        ValueError: the plan is no JSON.
    """
    comparison = read(folder)
    cells = frame(comparison, summarise(comparison))
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, title in enumerate(cells):
        shown.add_column(Text(title), justify="left" if i < _LEFT else "right", overflow="fold")
    for line in cells.itertuples(index=False):
        shown.add_row(*map(Text, line))
    return shown


def escape(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", text)


def markdown(cells: pd.DataFrame) -> str:
    """Return the table as Markdown of GitHub's kind."""
    titles = " | ".join(escape(title) for title in cells)
    rule = " | ".join("---" if i < _LEFT else "---:" for i in range(cells.shape[1]))
    rows = [" | ".join(map(escape, line)) for line in cells.itertuples(index=False)]
    return "".join(f"| {line} |\n" for line in (titles, rule, *rows))


def latex(cells: pd.DataFrame) -> str:
    r"""Return the table as a LaTeX `tabular` that needs \usepackage{booktabs}."""
    styler = cells.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    text = styler.to_latex(hrules=True, column_format="l" * _LEFT + "r" * (cells.shape[1] - _LEFT))
    for sign, command in _MATHEMATICS.items():
        text = text.replace(sign, command)
    text = text.replace(MISSING, "--")
    engine = "" if text.isascii() else "; its letters need LuaLaTeX or XeLaTeX with a font that has them"
    return f"% needs \\usepackage{{booktabs}}{engine}\n{text}"
