"""One paper, one file: its blocks, its networks, and `FAMILY`, which says the rest about it.

A file that lies here is a family; nothing else lists them.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

# First, whichever of the files is imported first: Ultralytics' layers import Ultralytics' models, and these the plugin.
import ultralytics.nn.tasks  # noqa: F401

from .contract import Family, Variant

__all__ = ["Family", "Variant", "families", "family_of"]


@functools.cache
def families() -> dict[str, Family]:
    """Import every family and give them by name; their blocks are registered afterwards."""
    files = sorted(file.name for file in pkgutil.iter_modules(__path__) if file.name != "contract")
    found = [importlib.import_module(f"{__name__}.{file}").FAMILY for file in files]
    return {family.name: family for family in found}


def family_of(variant: str) -> Family | None:
    """Return the family that a published network is of; None for a name that is no such network's."""
    return next((family for family in families().values() if variant in family.variants), None)
