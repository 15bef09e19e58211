"""The conditions of a comparison in words."""

from __future__ import annotations

from typing import Any

from .read import Comparison
from .tables import escape

SCRATCH = "random weights"


def start(comparison: Comparison, model: dict[str, Any]) -> str:
    """Return what weights a model of the plan starts from."""
    pretrained = comparison.plan["arguments"].get("pretrained")
    if isinstance(pretrained, str):
        return f"the weights of {pretrained} that fit it"
    if model["config"] is None:
        return SCRATCH if pretrained is False else f"the checkpoint {model['source']}"
    weights = dict.fromkeys(_weights(model["config"].get("backbone", [])))
    return f"published weights of its backbone ({', '.join(weights)})" if weights else SCRATCH


def _weights(part: Any) -> list[str]:
    """Return the tags that the rows of a config name, as `a1_in1k`."""
    if isinstance(part, dict):
        own = part.get("weights")
        return ([str(own)] if own else []) + [tag for value in part.values() for tag in _weights(value)]
    return [tag for value in part for tag in _weights(value)] if isinstance(part, list) else []


def starts(comparison: Comparison) -> dict[str, list[str]]:
    """Return the models by the weights that they start from."""
    found: dict[str, list[str]] = {}
    for model in comparison.plan["models"]:
        found.setdefault(start(comparison, model), []).append(model["name"])
    return found


def devices(comparison: Comparison) -> list[str]:
    """Return the names of the GPUs or processors that runs were trained on."""
    return sorted({record.device for record in comparison.records if record.device})


def describe(comparison: Comparison) -> list[str]:
    """Return the conditions that all runs share, a line of Markdown each."""
    plan = comparison.plan
    arguments, data, seeds = plan["arguments"], plan["data"], plan["seeds"]
    optimizer = str(arguments.get("optimizer", "auto"))
    chosen = (
        " (Ultralytics chooses it and its learning rate by the number of iterations)" if optimizer == "auto" else ""
    )
    named = {"imgsz", "batch", "optimizer", "pretrained", "epochs", "data", "seed"}
    others = [f"{name}={value}" for name, value in arguments.items() if name not in named]
    begun = starts(comparison)
    only = f"all models start from {escape(next(iter(begun)))}"
    each = "; ".join(f"from {escape(text)}: {', '.join(map(escape, names))}" for text, names in begun.items())
    lines = [
        f"Task: {plan['task']}.",
        f"Data: {escape(str(data['path']))} (hash {data['hash']}), {data['train']} training images, "
        f"{data['val']} validation images, {len(data['names'])} classes.",
        f"Schedule: {plan['epochs']} epochs, images of {arguments.get('imgsz', 640)} px, "
        f"batch {arguments.get('batch', 16)}, optimizer {optimizer}{chosen}.",
        f"Further arguments: {escape(', '.join(others)) or 'none; the rest is as Ultralytics has it'}.",
        f"Weights at the start: {only if len(begun) == 1 else each}.",
        f"Seeds: {', '.join(map(str, seeds))}; a seed is the same for each model.",
        "Versions: " + ", ".join(f"{escape(name)} {version}" for name, version in plan["versions"].items()) + ".",
        f"Device: {escape(', '.join(devices(comparison))) or 'no run has started'}.",
        "Each run's full arguments are in its args.yaml, under runs/.",
    ]
    return lines
