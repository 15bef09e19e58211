"""Restricted loading: the classes that a checkpoint may name, and what an unpickler can do with them.

`torch.load(weights_only=True)`, which Ultralytics uses under ULTRALYTICS_SAFE_LOAD, calls only what is allowed by
name. Ultralytics allows its own layers and torch's. This file allows ours, and those of timm and torchvision that
our networks are built from, with two limits:

- A class is allowed if it is defined in the module that the file names, and is an nn.Module. A name that a module has
  merely imported (functools.partial, enum.Enum) is refused.
- The unpickler can make an empty instance of a class, which is how pickle restores a module. It cannot call the class:
  with arguments that a file chooses, a constructor could read files, fetch weights, or call one of the arguments.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pickle
import re
import struct
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..weights.allowed import allowed_globals

# Packages and modules whose layers a checkpoint may name, and which may be imported to look one up.
_IMPORTABLE = re.compile(
    r"(timm\.(layers|models)|yolo_backbones\.(families|layers|backbones))(\.[A-Za-z_]\w*)+|torchvision\.ops\.stochastic_depth"
)

# Classes of timm that are no layers, but that its networks contain.
_PLAIN_CLASSES = frozenset({"timm.models._features.FeatureInfo"})
_ENUMERATIONS = frozenset({"timm.layers.format.Format"})  # restored by a call, which takes only one of their own values

# Errors of torch's scan of a damaged or foreign file. The loading that follows reports what is wrong.
_SCAN_ERRORS = (
    ValueError,
    RuntimeError,
    EOFError,
    OSError,
    IndexError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)


@contextlib.contextmanager
def allowing(weight: str | Path, modules: Collection[str]) -> Iterator[None]:
    """Allow the layers of ours, timm's and torchvision's that a checkpoint names, while it is read.

    Args:
        weight: the checkpoint's path.
        modules: further modules whose layers are allowed: those of the user's own registered blocks. They are not
            imported here.
    """
    with allowed_globals() as allowed:  # from the scan on, which omits what is allowed at that moment
        allowed.add([entry for name in _names_in(weight) for entry in _entries_for(name, modules)])
        yield


def _names_in(weight: str | Path) -> list[str]:
    """List what a checkpoint names beyond what torch itself allows; nothing if it cannot be read."""
    scan: Callable[..., list[str]] | None = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    if scan is None:  # torch before 2.6, where Ultralytics restricts nothing either
        return []
    try:
        return sorted(scan(weight))
    except _SCAN_ERRORS:
        return []


def _entries_for(name: str, modules: Collection[str]) -> list[Any]:
    """List what torch must be given so that a checkpoint may name `name`; nothing if it may not."""
    module, _, attribute = name.rpartition(".")
    cls = _class_defined_in(module, attribute, modules)
    if cls is None:
        return []
    if name in _ENUMERATIONS:
        return [(cls, name)]
    if not issubclass(cls, nn.Module) and name not in _PLAIN_CLASSES:
        return []
    # Torch also looks up an instance's class, by identity. No file can contain this name: a name ends at a line's end.
    return [(_restorable(cls), name), (cls, f"{name}\n")]


def _class_defined_in(module: str, attribute: str, modules: Collection[str]) -> type | None:
    """Find the class defined at the top of a module under that name, if the module may be searched."""
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
    """Stand-in for a class, given to the unpickler in its place."""

    cls: type

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            raise pickle.UnpicklingError(f"the checkpoint calls {cls.cls.__qualname__}, which is not allowed")
        return object.__new__(cls.cls)


_stand_ins: dict[type, type[_Restorable]] = {}


def _restorable(cls: type) -> type[_Restorable]:
    """Return the stand-in of a class: always the same one, so that concurrent loads share their entries."""
    return _stand_ins.setdefault(cls, type(cls.__name__, (_Restorable,), {"cls": cls}))
