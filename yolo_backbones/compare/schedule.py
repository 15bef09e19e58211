"""Runs on this machine: as many at once as there are places, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .process import RunProcess
from .record import Record

INTERVAL = 1.0  # seconds between looks at the processes


def run(
    folder: Path,
    waiting: Sequence[Record],
    places: Sequence[tuple[str, int]],
    stall: float,
    show: Callable[[Record], None],
    ended: Callable[[Record], None],
) -> None:
    """Do runs, in their order, until none waits.

    An interrupt ends the processes; their runs go on from their last epoch when they are asked for again.

    Args:
        folder: the comparison's.
        waiting: records of the runs.
        places: where runs go at once: for each a device, and its threads.
        stall: seconds without output after which a run is ended.
        show: is told of each run under way, once a second.
        ended: is told of each run that has finished or failed.
    """
    queue, free = list(waiting), list(places)
    under_way: list[tuple[RunProcess, tuple[str, int]]] = []
    done: list[Record] = []
    try:
        while queue or under_way or done:
            while queue and free:
                place = free.pop(0)
                under_way.append((RunProcess(folder, queue.pop(0), *place, stall), place))
            while done:  # a report takes seconds, in which the next run is under way
                ended(done.pop(0))
            if under_way:
                time.sleep(INTERVAL)
            for entry in list(under_way):
                process, place = entry
                alive = process.poll()
                show(process.record)
                if not alive:
                    under_way.remove(entry)
                    free.append(place)
                    done.append(process.record)
    finally:
        for process, _ in under_way:
            process.stop()
