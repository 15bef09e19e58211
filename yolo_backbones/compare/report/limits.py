"""Limits of a comparison: sentences on what its numbers do not allow one to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..record import FAILED, FINISHED, Record
from . import conditions, metrics
from .read import Comparison
from .statistics import Summary, by_seed
from .tables import escape

_FEW_IMAGES = 200  # below, a single image moves mAP in its third decimal
_FEW_SEEDS = 5  # below, Student's t makes an interval more than 1.4 times as wide as many seeds would
_NAMED = 12  # runs or models that a sentence names


def describe(comparison: Comparison, summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield a line of Markdown for each limit that applies."""
    yield from _runs(comparison)
    yield from _intervals(comparison, summaries)
    yield from _data(comparison)
    yield from _fairness(comparison, summaries)


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence; of many, the first and how many more."""
    more = len(names) - _NAMED
    return ", ".join(map(escape, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")


def _runs(comparison: Comparison) -> Iterator[str]:
    unfinished = [record.name for record in comparison.records if record.state not in (FINISHED, FAILED)]
    failed = [record for record in comparison.records if record.state == FAILED]
    if unfinished:
        count = f"{len(unfinished)} of {len(comparison.records)}"
        yield f"Runs that are not finished and not counted, {count}: {listed(unfinished)}."
    for record in failed[:_NAMED]:
        words = " ".join(record.error.split()) or "it left no words"
        yield f"{escape(record.name)} failed and is not counted: {escape(words)}"
    if len(failed) > _NAMED:
        yield f"Failed likewise, see compare.csv: {listed([record.name for record in failed[_NAMED:]])}."
    if failed or unfinished:
        yield (
            "Means of models that have finished different seeds do not compare like with like; "
            "the difference and its interval use only the seeds that both have finished."
        )
    if not comparison.finished[comparison.reference]:
        yield f"The reference, {escape(comparison.reference)}, has no finished run, so no difference can be given."
    blank = [
        record.name
        for records in comparison.finished.values()
        for record in records
        if comparison.metrics and not by_seed([record], comparison.metrics[0])
    ]
    if blank:
        yield f"Finished without {metrics.label(comparison.metrics[0])}, so not in its mean: {listed(blank)}."
    early = [record.name for record in comparison.records if _stopped_early(comparison, record)]
    if early:
        yield (
            f"Ended before epoch {comparison.plan['epochs']}, since the metric had stopped rising (patience): "
            f"{listed(early)}. Models were trained for different numbers of epochs."
        )
    resumed = [record.name for record in comparison.records if record.resumed]
    if resumed:
        yield (
            f"Resumed after an interruption: {listed(resumed)}. A resumed training draws other random numbers than one "
            "left alone, so it does not repeat that one's figures exactly; its training time is that of all attempts."
        )


def _stopped_early(comparison: Comparison, record: Record) -> bool:
    return record.state == FINISHED and 0 < record.epochs < comparison.plan["epochs"]


def _intervals(comparison: Comparison, summaries: Sequence[Summary]) -> Iterator[str]:
    if not comparison.metrics:
        return
    key = comparison.metrics[0]
    pairs = {row.model: row.differences[key] for row in summaries if key in row.differences}
    alone = [name for name, pair in pairs.items() if pair.low is None]
    if alone:
        yield (
            f"One seed, so no interval: {listed(alone)}. How much of the difference is chance cannot be told; "
            "another seed alone may turn it round."
        )
    judged = {name: pair for name, pair in pairs.items() if pair.low is not None}
    if not judged:
        return
    undecided = [name for name, pair in judged.items() if pair.verdict == "open"]
    if undecided:
        yield (
            f"The interval contains 0, so no difference to the reference is shown: {listed(undecided)}. "
            "That does not show that they are equal."
        )
    flat = [name for name, pair in judged.items() if pair.flat]
    if flat:
        yield (
            f"The difference is the same with each seed, so its interval has width 0: {listed(flat)}. "
            "Make sure that the seed changes the training at all."
        )
    seeds = min(pair.seeds for pair in judged.values())
    if seeds < _FEW_SEEDS:
        yield (
            f"{seeds} seeds are few: the interval is that of a paired t-test, which takes the differences as normally "
            "distributed, and so few do not let one check that."
        )
    if len(judged) > 1:
        yield (
            f"{len(judged)} comparisons with the reference stand here, each with an interval of 95% of its own and "
            f"without a correction: were all models equal, {len(judged) * 0.05:.2g} of these intervals would miss 0 "
            "on average."
        )
    yield "The intervals cover the chance of the seeds alone, not that of which images were collected."


def _data(comparison: Comparison) -> Iterator[str]:
    images, classes = comparison.plan["data"]["val"], len(comparison.plan["data"]["names"])
    if images < _FEW_IMAGES:
        yield f"{images} validation images are few: other images of the same kind may order the models otherwise."
    if images < classes:
        yield f"There are fewer validation images ({images}) than classes ({classes}): some classes cannot be judged."
    yield (
        "The figures are those of each run's best epoch on the validation split, on which that epoch was chosen too, "
        "so they are somewhat higher than on images never used; they hold for this data set and this schedule."
    )


def _fairness(comparison: Comparison, summaries: Sequence[Summary]) -> Iterator[str]:
    starts = conditions.starts(comparison)
    if len(starts) > 1:
        yield (
            "The models do not start alike (see the conditions), so a difference may come from the weights at the "
            "start and not from the architecture."
        )
    pretrained = comparison.plan["arguments"].get("pretrained")
    if isinstance(pretrained, str) and len(comparison.models) > 1:
        yield f"Of {escape(pretrained)}, models take over only what fits: likely more for one model than for another."
    devices = conditions.devices(comparison)
    if len(devices) > 1:
        yield f"Trained on different devices ({listed(devices)}): training times and memory do not compare."
    if any(row.seconds is not None for row in summaries):
        yield "Training time depends on what else the machine did; it is no measurement of speed."
    untimed = [row.model for row in summaries if row.seeds and row.latency_ms is None]
    if untimed and comparison.latency:
        yield f"Without a latency: {listed(untimed)}. The plot of cost shows parameters instead."
    elif untimed:
        yield "Latency was not measured; fewer parameters or GFLOPs do not make a model faster."
