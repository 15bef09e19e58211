"""Completion by a shell's tab key, without importing torch or Ultralytics."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .. import catalogue, names


def complete_backbone(incomplete: str) -> list[str]:
    """List the backbones that start so; with their tags once the dot is typed."""
    known = (
        name for entry in catalogue.entries().values() for name in (entry.names if "." in incomplete else [entry.name])
    )
    return [name for name in known if name.startswith(incomplete)]


def complete_base(incomplete: str) -> list[str]:
    """List Ultralytics' own configs that start so, without importing it; with scale letters."""
    spec = importlib.util.find_spec("ultralytics")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    found = set()
    for file in (file for folder in folders for file in Path(folder, "cfg", "models").rglob("*.yaml")):
        found.add(file.stem)
        found |= {names.with_scale(file.stem, letter) for letter in names.SCALES}
    return sorted(name for name in found if name.startswith(incomplete))
