"""Display of a comparison that runs: a live table, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .process import log_of
from .record import FAILED, FINISHED, RUNNING, WAITING, Record

_ORDER = (RUNNING, FAILED, WAITING, FINISHED)  # what a short terminal cuts off is at the end
_STYLES = {RUNNING: "bold", FAILED: "red", WAITING: "dim", FINISHED: "green"}
# A pose's or a mask's before its box's.
_JUDGED_BY = {
    "metrics/mAP50-95(P)": "mAP50-95",
    "metrics/mAP50-95(M)": "mAP50-95",
    "metrics/mAP50-95(B)": "mAP50-95",
    "metrics/accuracy_top1": "top-1",
}
_BETWEEN_LINES = 60.0  # seconds, of one run
_BETWEEN_TABLES = 5.0
_LINES_AROUND = 4  # of a table: title, head, the line on those left out, the cursor's


class View(Protocol):
    """Shows a comparison."""

    def show(self, record: Record) -> None:
        """Show how far a run is."""

    def ended(self, record: Record) -> None:
        """Show that a run has finished or failed."""


@contextmanager
def watch(folder: Path, records: Sequence[Record], epochs: int, at_once: int) -> Iterator[View]:
    """Yield what shows the runs.

    Args:
        folder: the comparison's.
        records: all runs, finished ones too.
        epochs: of each run.
        at_once: number of runs that go on at once.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(folder, records, epochs, at_once)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        view = _Table(live, folder, records, epochs, at_once)
        view.draw()
        yield view


class _Course:
    """All runs, and how long they may still take."""

    def __init__(self, folder: Path, records: Sequence[Record], epochs: int, at_once: int) -> None:
        self.folder = folder
        self.epochs = epochs
        self.records = {record.name: record for record in records}
        self._at_once = at_once

    def left(self, record: Record) -> float | None:
        """Return the seconds that a run will take, at the speed that it had or its model's runs had; None: unknown."""
        if record.state in {FINISHED, FAILED}:
            return 0.0
        known = [other for other in self.records.values() if other.epochs and other.model == record.model]
        speeds = [other.seconds / other.epochs for other in ([record] if record.epochs else known)]
        return (self.epochs - record.epochs) * sum(speeds) / len(speeds) if speeds else None

    def all_left(self) -> float | None:
        """Return the seconds that all will take, those of unknown speed like the mean of the others."""
        lefts = [self.left(record) for record in self.records.values()]
        known = [record.seconds / record.epochs for record in self.records.values() if record.epochs]
        if not known:
            return None
        unknown = self.epochs * sum(known) / len(known)
        total = sum(unknown if left is None else left for left in lefts)
        return total / self._at_once

    def count(self, state: str) -> int:
        """Return how many runs are in that state."""
        return sum(record.state == state for record in self.records.values())

    def summary(self) -> str:
        """Return how far the whole is, in a line."""
        parts = [f"{self.count(FINISHED)} of {len(self.records)} runs finished"]
        failed = self.count(FAILED)
        if failed:
            parts.append(f"{failed} failed")
        left = self.all_left()
        if left:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


class _Lines(_Course):
    """A line for each event, and for each running run now and then."""

    def __init__(self, folder: Path, records: Sequence[Record], epochs: int, at_once: int) -> None:
        super().__init__(folder, records, epochs, at_once)
        self._said: dict[str, float] = {}

    def show(self, record: Record) -> None:
        """Print that it has begun, and once a minute how far it is."""
        before = self._said.get(record.name)
        self.records[record.name] = record
        if record.state != RUNNING:
            return
        now = time.monotonic()
        if before is None:
            print(f"{record.name}: started, log in {log_of(self.folder, record)}", flush=True)
        elif now - before < _BETWEEN_LINES:
            return
        else:
            print(f"{record.name}: {progress(record, self.epochs, self.left(record))}", flush=True)
        self._said[record.name] = now

    def ended(self, record: Record) -> None:
        """Print how it ended."""
        self.records[record.name] = record
        self._said.pop(record.name, None)
        print(f"{record.name}: {outcome(self.folder, record)}; {self.summary()}", flush=True)


class _Table(_Course):
    """A table of all runs, drawn in place."""

    def __init__(self, live: Live, folder: Path, records: Sequence[Record], epochs: int, at_once: int) -> None:
        super().__init__(folder, records, epochs, at_once)
        self._live = live
        self._outdated = True
        self._drawn = 0.0

    def show(self, record: Record) -> None:
        """Draw anew where something has changed; not at once, since drawing takes the runs' time."""
        self._outdated |= self.records[record.name] != record
        self.records[record.name] = record
        if self._outdated and time.monotonic() - self._drawn > _BETWEEN_TABLES:
            self.draw()

    def ended(self, record: Record) -> None:
        """Draw anew; a failure stays above the table."""
        self.records[record.name] = record
        self.draw()
        if record.state == FAILED:
            self._live.console.print(Text(f"{record.name}: {outcome(self.folder, record)}", style="red"))

    def draw(self) -> None:
        """Draw the table."""
        table = Table(title=self.summary(), title_justify="left", box=None, pad_edge=False)
        judged_by = next(filter(None, (so_far(record)[0] for record in self.records.values())), "")
        for column in ("run", "state"):
            table.add_column(column)
        for column in ("epoch", judged_by, "left"):
            table.add_column(column, justify="right")
        ordered = sorted(self.records.values(), key=lambda record: _ORDER.index(record.state))
        shown = ordered[: max(1, self._live.console.height - _LINES_AROUND)]
        for record in shown:
            left = self.left(record)
            table.add_row(
                record.name,
                Text(record.state, style=_STYLES[record.state]),
                f"{record.epochs}/{self.epochs}",
                so_far(record)[1],
                "" if record.state != RUNNING else "?" if left is None else duration(left),
            )
        if len(shown) < len(ordered):
            table.add_row(Text(f"and {len(ordered) - len(shown)} more", style="dim"))
        self._live.update(table, refresh=True)
        self._outdated, self._drawn = False, time.monotonic()


def so_far(record: Record) -> tuple[str, str]:
    """Return what models are judged by, name and value: of the last epoch or, of a finished run, of the best.

    Both are "" where nothing is known yet.
    """
    key = next((key for key in _JUDGED_BY if key in record.metrics), None)
    return (_JUDGED_BY[key], f"{record.metrics[key]:.3f}") if key else ("", "")


def progress(record: Record, epochs: int, left: float | None) -> str:
    """Return how far a run is, in words."""
    parts = [f"epoch {record.epochs} of {epochs}"]
    if any(so_far(record)):
        parts.append(" ".join(so_far(record)))
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def outcome(folder: Path, record: Record) -> str:
    """Return how a run ended, in words."""
    if record.state == FAILED:
        return f"failed after {record.epochs} epochs: {record.error}; its log is {log_of(folder, record)}"
    return f"finished, {' '.join(so_far(record))}, {duration(record.seconds)} of training"


def duration(seconds: float) -> str:
    """Return a duration as 3 h 20 min, 5 min or 12 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
