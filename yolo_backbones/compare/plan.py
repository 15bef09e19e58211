"""Plan of a comparison: models, seeds, data, arguments, versions. Written before the first run.

Figures can be compared where all of it was the same. So a folder goes on with its own plan only; models and seeds may
be added, since the runs that are there stay comparable with the new ones.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..leftovers import write_text
from ..messages import shown
from .record import PLAN

FORMAT = 1
_SAME = ("task", "epochs", "arguments", "versions")  # and the data's hash, and each model's


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        models: of each its `name` (unique, and that of its folders), `source` (what was typed), `config` (as
            Ultralytics reads it; None for a checkpoint), `hash` (of the config or the checkpoint) and `parameters`.
        seeds: each model is trained once with each.
        arguments: of `yolo train`, beside those that are named here.
        task: Ultralytics' name of the task.
        data: `path` of its YAML or folder, `hash`, class `names`, number of `train` and `val` images.
        epochs: epochs of each run.
        versions: of this package, ultralytics, torch, timm and Python.
        format: of the file.
    """

    models: list[dict[str, Any]]
    seeds: list[int]
    arguments: dict[str, Any]
    task: str
    data: dict[str, Any]
    epochs: int
    versions: dict[str, str] = field(default_factory=lambda: versions())
    format: int = FORMAT

    def model(self, name: str) -> dict[str, Any]:
        """Return the model of that name."""
        return next(model for model in self.models if model["name"] == name)

    def runs(self) -> Iterator[tuple[str, int]]:
        """Yield each run's model and seed: all models with the first seed, then with the next."""
        for seed in self.seeds:
            for model in self.models:
                yield model["name"], seed

    def write(self, folder: Path) -> None:
        """Write it into the comparison's folder, whole or not at all."""
        write_text(folder / PLAN, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Return the folder's plan.

        Raises:
            FileNotFoundError: it has none.
            ValueError: the file holds no plan.
        """
        file = folder / PLAN
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no plan ({error}); give another --out") from None


def versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    others = {package: metadata.version(package) for package in ("ultralytics", "torch", "timm")}
    return {"yolo_backbones": __version__, **others, "python": platform.python_version()}


def extend(folder: Path, asked: Plan) -> Plan:
    """Return the plan of a folder, with the models and seeds that are asked for now.

    Models and seeds that were asked for earlier stay, since their figures do.

    Raises:
        ValueError: the folder's plan is another; the message names the difference.
    """
    try:
        there = Plan.read(folder)
    except FileNotFoundError:
        return asked
    # As the file would have it: there, tuples are lists.
    difference = _difference(there, Plan(**json.loads(json.dumps(dataclasses.asdict(asked)))))
    if difference:
        raise ValueError(f"{folder} holds another comparison: {difference}; give another --out")
    known = {model["name"] for model in there.models}
    models = [*there.models, *(model for model in asked.models if model["name"] not in known)]
    return dataclasses.replace(there, models=models, seeds=sorted({*there.seeds, *asked.seeds}))


def _difference(there: Plan, asked: Plan) -> str:
    """Return what differs, as `its epochs are 100, and now they are 50`; "" for nothing that matters."""
    if there.format != asked.format:
        return f"its format is {there.format}, and this release writes {asked.format}"
    for key in _SAME:
        before, now = getattr(there, key), getattr(asked, key)
        if before == now:
            continue
        if isinstance(before, dict):
            name = next(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))
            key, before, now = f"{key} {name}", before.get(name, "not set"), now.get(name, "not set")
        return f"its {key}: {shown(before)}, and now: {shown(now)}"
    if there.data["hash"] != asked.data["hash"]:
        return f"its data were {there.data['path']}, and now they are {asked.data['path']} or have changed"
    first, now_first = there.models[0]["name"], asked.models[0]["name"]
    if first != now_first:
        return f"the others are held to its first model, {first}, and now that is {now_first}"
    before_hashes = {model["name"]: model["hash"] for model in there.models}
    for model in asked.models:
        if before_hashes.get(model["name"], model["hash"]) != model["hash"]:
            return f"its model {model['name']} was another one"
    return ""
