"""Report of a comparison: every run as CSV and JSON, a table of means, plots, and a text that joins them.

`read` reads the folder, `statistics` summarises over the seeds, `tables`, `plots` and `words` say it. pandas and scipy
are imported here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

for _package in ("pandas", "scipy", "jinja2"):
    if importlib.util.find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"A comparison's report needs {_package}; install it with: pip install yolo-backbones[compare]",
            name=_package,
        )

from ...leftovers import replacing, write_text  # noqa: E402
from . import plots, tables, words  # noqa: E402  (after the sentence on what they need)
from .read import Comparison, read  # noqa: E402
from .statistics import Summary, summarise  # noqa: E402

_FORMAT = 1


def write(folder: Path) -> None:
    """Write the report of a comparison's folder anew: compare.csv and .json, curves.csv, tables, plots, report.md.

    It may be called at any moment; runs that are not finished are named as such.

    Raises:
        FileNotFoundError: the folder holds no plan.
        ValueError: the plan or latency.json is no JSON.
    """
    comparison = read(folder)
    summaries = summarise(comparison)
    for name, frame in {"compare": comparison.runs(), "curves": comparison.curves}.items():
        with replacing(folder / f"{name}.csv") as part:
            frame.to_csv(part, index=False, encoding="utf-8")
    write_text(folder / "compare.json", json.dumps(_whole(comparison, summaries), allow_nan=False) + "\n")
    cells = tables.frame(comparison, summaries)
    table = tables.markdown(cells)
    write_text(folder / "table.md", table)
    write_text(folder / "table.tex", tables.latex(cells))
    drawn = plots.draw(comparison, summaries)
    write_text(folder / "report.md", words.report(comparison, summaries, table, drawn))


def _whole(comparison: Comparison, summaries: list[Summary]) -> Any:
    return _valid(
        {
            "format": _FORMAT,
            "reference": comparison.reference,
            "metrics": comparison.metrics,
            "models": [dataclasses.asdict(summary) for summary in summaries],
            "runs": [vars(record) for record in comparison.records],  # not asdict, which copies each figure: seconds
        }
    )


def _valid(value: Any) -> Any:
    """Return a value with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _valid(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_valid(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
