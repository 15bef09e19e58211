"""Timing of models in turn: each runs once a round, in random order, so that a slow machine slows all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .process import Worker, WorkerError
from .settings import Settings

# Settings that each worker's `load` takes, beside the model.
_ARGUMENTS = {
    "torch": ("imgsz", "batch", "device", "threads", "warmup", "before_fuse"),
    "onnx": ("device", "threads", "warmup"),
    "openvino": ("threads", "warmup"),
}
_MEMORY_FACTOR = 2  # room that the next model needs, in multiples of the largest one so far


@dataclass
class Lane:
    """One model in a race.

    Attributes:
        model: its name.
        facts: the worker's answer after loading.
        seconds: time of each round, by form (`fused`, `unfused`).
        error: reason why it left the race; "" if it did not.
    """

    model: str
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    error: str = ""


def race(
    sources: Mapping[str, str],
    backend: str,
    settings: Settings,
    record: Callable[[Sequence[Lane]], None],
    advance: Callable[[str], None],
    limit: float | None = None,
) -> None:
    """Time models on one backend, as many at once as memory allows.

    Args:
        sources: name or file that the backend loads, by the model's name. The first model is the reference, and runs in
            every group.
        backend: backend of all models.
        settings: settings of all models.
        record: receives a group's lanes, the reference's first; also when the race is interrupted.
        advance: receives a line about each model that was loaded and each round of a group.
        limit: seconds that loading, or a turn, may take.
    """
    reference, *waiting = sources
    while True:
        with _Group(backend, settings, limit) as group:
            group.load(reference, sources[reference])
            advance(f"{backend}: {reference}")
            while waiting and (len(group.running) < 2 or group.has_room()):
                model = waiting.pop(0)
                group.load(model, sources[model])
                advance(f"{backend}: {model}")
            try:
                group.take_turns(advance)
            finally:
                record(group.lanes)
        if not waiting:
            return


class _Group:
    """The models whose workers run at the same time."""

    def __init__(self, backend: str, settings: Settings, limit: float | None) -> None:
        self.lanes: list[Lane] = []
        self.running: dict[str, Worker] = {}
        self._backend = backend
        self._settings = settings
        self._limit = limit
        self._forms = ("fused", "unfused") if backend == "torch" and settings.before_fuse else ("fused",)

    def __enter__(self) -> _Group:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.running.values():
            worker.close()

    def load(self, model: str, source: str) -> None:
        """Start a worker and have it load the model."""
        lane = Lane(model)
        self.lanes.append(lane)
        self.running[model] = Worker(self._backend, self._settings.threads, self._limit)
        chosen = {name: getattr(self._settings, name) for name in _ARGUMENTS[self._backend]}
        lane.facts = self._ask(lane, "load", {"model": source, **chosen})
        if lane.facts:
            lane.seconds = {form: [] for form in self._forms}

    def has_room(self) -> bool:
        """Tell whether another model is likely to fit into memory beside these."""
        known = [lane.facts for lane in self.lanes if lane.facts and lane.facts["available"] is not None]
        return not known or known[-1]["available"] > _MEMORY_FACTOR * max(facts["held"] for facts in known)

    def take_turns(self, advance: Callable[[str], None]) -> None:
        """Run all rounds."""
        order = random.Random(0)
        for number in range(1, self._settings.repeats + 1):
            turns = [(lane, form) for lane in self.lanes for form in lane.seconds]
            order.shuffle(turns)
            for lane, form in turns:
                answer = self._ask(lane, "run", {"form": form}) if lane.model in self.running else {}
                if answer:
                    lane.seconds[form].append(answer["seconds"])
            advance(f"{self._backend}: round {number} of {self._settings.repeats}")

    def _ask(self, lane: Lane, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the worker's answer; {} if it failed, which takes the model out of the race."""
        try:
            return self.running[lane.model].ask(action, arguments)
        except WorkerError as error:
            del self.running[lane.model]
            lane.error = str(error)
            lane.seconds = {}
            return {}
