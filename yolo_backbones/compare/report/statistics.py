"""Means over the seeds, and paired differences to the reference with their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from scipy import stats

from ..record import Record
from .read import Comparison

CONFIDENCE = 0.95

_T = TypeVar("_T")


@dataclass(frozen=True)
class Difference:
    """Mean over the seeds of a model's metric less the reference's with the same seed.

    Attributes:
        mean: the mean difference.
        low: lower end of its interval, None with one seed; likewise `high`.
        seeds: number of seeds that both have finished.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def flat(self) -> bool:
        """True if the difference is the same with each seed, but for rounding."""
        return self.low is not None and self.high is not None and self.high - self.low < 1e-9

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `open` where the interval contains 0, or `unknown` where there is none."""
        if self.low is None or self.high is None:
            return "unknown"
        if self.low <= 0 <= self.high:
            return "open"
        return "higher" if self.low > 0 else "lower"


@dataclass(frozen=True)
class Summary:
    """One model over the seeds that it has finished.

    Attributes:
        means: mean of each metric.
        deviations: standard deviation over the seeds (n - 1); without those metrics that one seed has.
        differences: to the reference, by metric; empty for the reference itself.
        parameters: of the merged model where that is known, else of the trained one; likewise GFLOPs.
        latency_ms: the bench's median for one image.
        seconds: mean training time of a run.
        memory: highest memory of its runs in MiB.
        classes: mean AP50-95 of each class.
    """

    model: str
    seeds: list[int]
    means: dict[str, float] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    parameters: int | None = None
    gflops: float | None = None
    latency_ms: float | None = None
    seconds: float | None = None
    memory: float | None = None
    classes: dict[str, float] = field(default_factory=dict)


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Return the mean of the paired differences with the interval of the paired t-test; None without a common seed.

    Args:
        values: a model's metric by seed.
        reference: the reference's, likewise.
    """
    differences = [values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())]
    n = len(differences)
    if n < 2:
        return Difference(differences[0], None, None, 1) if n else None
    mean = statistics.fmean(differences)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * statistics.stdev(differences) / math.sqrt(n)
    return Difference(mean, mean - float(half), mean + float(half), n)


def summarise(comparison: Comparison) -> list[Summary]:
    """Return a summary of each model, the reference first."""
    reference = comparison.finished[comparison.reference]
    return [_summary(comparison, model, reference) for model in comparison.models]


def _summary(comparison: Comparison, model: str, reference: Sequence[Record]) -> Summary:
    records = comparison.finished[model]
    summary = Summary(
        model,
        [record.seed for record in records],
        parameters=_first([record.parameters_fused or record.parameters for record in records]),
        gflops=_first([record.gflops_fused or record.gflops for record in records]),
        latency_ms=comparison.latency.get(model, {}).get("median_ms"),
        seconds=statistics.fmean(record.seconds for record in records) if records else None,
        memory=max((record.memory for record in records if record.memory is not None), default=None),
        classes=_by_class(records),
    )
    for key in dict.fromkeys(key for record in records for key in record.metrics):
        values = by_seed(records, key)
        if values:
            summary.means[key] = statistics.fmean(values.values())
        if len(values) > 1:
            summary.deviations[key] = statistics.stdev(values.values())
        difference = paired(values, by_seed(reference, key)) if model != comparison.reference else None
        if difference:
            summary.differences[key] = difference
    return summary


def by_seed(records: Sequence[Record], key: str) -> dict[int, float]:
    """Return a metric by seed; a run without it, or whose value is no number, is left out."""
    found = {record.seed: record.metrics.get(key) for record in records}
    return {seed: value for seed, value in found.items() if value is not None and math.isfinite(value)}


def _by_class(records: Sequence[Record]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.classes.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: statistics.fmean(found) for name, found in values.items()}


def _first(values: Sequence[_T | None]) -> _T | None:
    return next((value for value in values if value is not None), None)
