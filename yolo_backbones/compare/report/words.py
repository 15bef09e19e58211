"""report.md: result, table, plots, conditions and limits in one text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..record import FINISHED
from . import conditions, limits, metrics, plots
from .read import Comparison
from .statistics import Summary
from .tables import escape, interval, number

_SENTENCES = 20  # models that the result spells out; the table has all


def report(comparison: Comparison, summaries: Sequence[Summary], table: str, drawn: Sequence[str]) -> str:
    """Return the text of report.md.

    Args:
        comparison: what the folder holds.
        summaries: a summary of each model.
        table: the table as Markdown.
        drawn: names of the plots that were drawn.
    """
    done = sum(record.state == FINISHED for record in comparison.records)
    sections = [
        f"# Comparison with {escape(comparison.reference)}",
        f"{len(comparison.models)} models, {_count(len(comparison.plan['seeds']), 'seed')} each: {done} of "
        f"{len(comparison.records)} runs are finished. {escape(comparison.reference)} is the reference.",
        "## Result",
        _bullets(_results(comparison, summaries)),
        table.rstrip(),
        " ".join(_legend(comparison)),
        "## Plots",
        *_plots(comparison, summaries, drawn),
        "## Conditions",
        _bullets(conditions.describe(comparison)),
        "## What these numbers do not allow one to say",
        _bullets(limits.describe(comparison, summaries)),
        "## Files",
        "`compare.csv` and `compare.json` hold every run, `curves.csv` every epoch of every run. `table.tex` is the "
        "table for a paper, and each plot is there as PDF too.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _bullets(lines: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _results(comparison: Comparison, summaries: Sequence[Summary]) -> Iterator[str]:
    key = comparison.metrics[0] if comparison.metrics else ""
    others = [row for row in summaries if row.model != comparison.reference]
    for row in others[:_SENTENCES]:
        name, difference = escape(row.model), row.differences.get(key)
        if difference is None:
            yield f"{name}: no seed that it and the reference have both finished, so no difference."
            continue
        size = f"{metrics.label(key)} differs from the reference's by {number(difference.mean, '+.4f')}"
        if difference.verdict == "unknown":
            yield f"{name}: {size} with one seed, so there is no interval."
            continue
        judgement = {
            "higher": "the interval lies above 0: higher than the reference",
            "lower": "the interval lies below 0: lower than the reference",
            "open": "the interval contains 0: no difference shown",
        }[difference.verdict]
        yield f"{name}: {size}, 95% interval {escape(interval(difference))} over {difference.seeds} seeds; {judgement}."
    if len(others) > _SENTENCES:
        yield f"The other {len(others) - _SENTENCES} models are in the table."


def _legend(comparison: Comparison) -> Iterator[str]:
    if comparison.metrics:
        label = escape(metrics.label(comparison.metrics[0]))
        yield (
            "Metrics are means over the finished seeds ± standard deviation (n - 1), from 0 to 1, higher is better. "
            f"The difference is that of {label} to the reference, paired by seed, with the paired t-test's interval."
        )
    yield (
        "Parameters and GFLOPs are those of the merged model, as it is deployed; training time is the mean of a "
        "model's runs, memory their highest."
    )
    if comparison.latency:
        hardware = sorted({row["hardware"] for row in comparison.latency.values() if row.get("hardware")})
        where = escape(", ".join(hardware)) or "one device"
        yield f"Latency is the median for one image in PyTorch, merged, on {where}."


def _plots(comparison: Comparison, summaries: Sequence[Summary], drawn: Sequence[str]) -> Iterator[str]:
    key = comparison.metrics[0] if comparison.metrics else ""
    scored = [row for row in summaries if key in row.means]
    if "curves" in drawn:
        yield "![Metric by epoch](curves.png)"
        grey = " Of the others, the best have a colour; the rest are grey." if len(scored) > plots.NAMED + 1 else ""
        yield (
            "Lines are means over the finished seeds, bands reach from the worst seed to the best; "
            f"the reference is black.{grey}"
        )
    if "cost" in drawn:
        yield "![Metric against cost](cost.png)"
        few = len(scored) <= plots.LABELLED
        named = "" if few else " Names are written at the reference and at some points of the front."
        yield (
            "No other model is both cheaper and better than one on the Pareto front. "
            f"Where bars overlap, the order may be chance.{named}"
        )
    if "classes" in drawn:
        yield "![AP by class](classes.png)"
        if len(scored) > plots.COLUMNS:
            yield f"The {plots.COLUMNS - 1} best models beside the reference are shown."
        if max(len(row.classes) for row in scored) > plots.ROWS:
            yield f"The first {plots.ROWS} classes are shown; compare.json has all."
        yield (
            "A class that the fonts at hand cannot write is given by its number. "
            "A class without validation images is left out."
        )
    elif scored:
        yield f"The task {comparison.plan['task']} has no AP by class here, so there is no heat map."
    if not scored:
        yield "No run is finished, so there is nothing to draw."
