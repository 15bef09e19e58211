"""Families of backbones. Each file is one paper: its blocks, its networks, and `FAMILY`, which describes it.

Every file in this folder but `contract.py` is a family; there is no other list of them.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

# Imported first, against a circle: Ultralytics' layers import Ultralytics' models, and these import this package.
import ultralytics.nn.tasks  # noqa: F401

from .contract import Family, ForeignRow, Variant

__all__ = ["Family", "ForeignRow", "Variant", "families", "family_of"]


@functools.cache
def families() -> dict[str, Family]:
    """Import every family and return them by name. Importing a family registers its blocks."""
    files = sorted(file.name for file in pkgutil.iter_modules(__path__) if file.name != "contract")
    found = [importlib.import_module(f"{__name__}.{file}").FAMILY for file in files]
    return {family.name: family for family in found}


def family_of(variant: str) -> Family | None:
    """Return the family of a published network; None for a name that no published network has."""
    return next((family for family in families().values() if variant in family.variants), None)
