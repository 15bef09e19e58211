"""Restricted loading: which classes a checkpoint may name, and what an unpickler can do with them.

`torch.load(weights_only=True)`, which Ultralytics uses under ULTRALYTICS_SAFE_LOAD, calls nothing but what is allowed
by name. Ultralytics allows its own layers and torch's. This file allows ours, and those of timm and torchvision that
our networks are built from, with two limits:

- A class is allowed if it is defined in the module that the file names, and is an nn.Module. A name that a module has
  merely imported (functools.partial, enum.Enum) is refused.
- A class can be made an empty instance of, which is how pickle restores a module. It cannot be called: a constructor
  that a file calls with arguments of its choice could read files, fetch weights, or call what it is handed.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pickle
import re
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

# Packages and modules whose layers a checkpoint may name, and which may be imported to look one up.
_IMPORTABLE = re.compile(
    r"(timm\.(layers|models)|yolo_backbones\.(families|layers|backbones))(\.[A-Za-z_]\w*)+|torchvision\.ops\.stochastic_depth"
)

# Classes of timm's that are no layers, and that its networks keep all the same.
_PLAIN = frozenset({"timm.models._features.FeatureInfo"})
_ENUMERATIONS = frozenset(
    {"timm.layers.format.Format"}
)  # restored by a call, which takes one of their own values alone

# What torch's scan of a damaged or foreign file raises. The loading that follows says what the file is.
_UNREADABLE = (
    ValueError,
    RuntimeError,
    EOFError,
    OSError,
    IndexError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)

# Held for as long as a file is read: torch keeps one list for all threads, and no thread may lose what it added.
_lock = threading.RLock()


@contextlib.contextmanager
def allowing(weight: str | Path, modules: Collection[str]) -> Iterator[None]:
    """Allow what a checkpoint names of our layers, timm's and torchvision's, as long as it is being read.

    Args:
        weight: the checkpoint's path.
        modules: further modules whose layers are allowed, those of the user's own registered blocks. They are not
            imported for it.
    """
    with _lock:  # from the scan on, which leaves out what is allowed at the moment
        entries = [entry for name in _named(weight) for entry in _entries(name, modules)]
        known = set(torch.serialization.get_safe_globals()) if entries else set()
        own = [entry for entry in entries if entry not in known]
        with torch.serialization.safe_globals(own) if own else contextlib.nullcontext():
            yield


def _named(weight: str | Path) -> list[str]:
    """Return everything that a checkpoint names beyond what torch allows by itself, as far as that can be read."""
    scan: Callable[..., list[str]] | None = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    if scan is None:  # torch before 2.6, where Ultralytics restricts nothing either
        return []
    try:
        return sorted(scan(weight))
    except _UNREADABLE:
        return []


def _entries(name: str, modules: Collection[str]) -> list[Any]:
    """Say what to hand to torch so that a checkpoint may name `name`; nothing if it may not."""
    module, _, attribute = name.rpartition(".")
    cls = _defined(module, attribute, modules)
    if cls is None:
        return []
    if name in _ENUMERATIONS:
        return [(cls, name)]
    if not issubclass(cls, nn.Module) and name not in _PLAIN:
        return []
    # Torch looks classes of instances up as well, by identity. No file can spell this name: one ends at a line's end.
    return [(_restorable(cls), name), (cls, f"{name}\n")]


def _defined(module: str, attribute: str, modules: Collection[str]) -> type | None:
    """Return the class that is defined at the top of a module under that name, if the module is one to look into."""
    if module in modules:
        found = sys.modules.get(module)
    elif _IMPORTABLE.fullmatch(module):
        try:
            found = importlib.import_module(module)
        except ImportError:  # of another release; Ultralytics refuses the file
            return None
    else:
        return None
    cls = vars(found).get(attribute) if found is not None else None
    own = inspect.isclass(cls) and (cls.__module__, cls.__qualname__) == (module, attribute)
    return cls if own else None


class _Restorable:
    """Stands for a class in the unpickler's hands."""

    cls: type

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            raise pickle.UnpicklingError(f"the checkpoint calls {cls.cls.__qualname__}, which is not allowed")
        return object.__new__(cls.cls)


_stand_ins: dict[type, type[_Restorable]] = {}


def _restorable(cls: type) -> type[_Restorable]:
    """Return one stand-in a class, so that concurrent loads share their entries."""
    return _stand_ins.setdefault(cls, type(cls.__name__, (_Restorable,), {"cls": cls}))
