"""The user's own blocks: their modules are imported in every process, and passed on to those that it starts."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from torch import nn

from . import environment


def pass_on(cls: type[nn.Module]) -> None:
    """Let child processes (multi-GPU workers, tuning, Ray) import a block too: they inherit the variable.

    Args:
        cls: the block, whose module is added to the variable.
    """
    if cls.__module__ == "__main__":
        warnings.warn(
            f"register({cls.__name__}): the class is defined in the script that is run, so its checkpoints open in "
            "no other program, nor can multi-GPU workers build it; move it into a module and import it",
            stacklevel=4,
        )
        return
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    entry = os.path.abspath(file) if file.endswith(".py") and "." not in cls.__module__ else cls.__module__
    entries = environment.blocks()
    if entry not in entries:
        environment.set_blocks([*entries, entry])


def import_all() -> None:
    """Import the modules that `YOLO_BACKBONES_BLOCKS` names, each by import path or by .py file.

    Raises:
        ImportError: some cannot be imported; the others have been.
    """
    entries = [os.path.abspath(entry) if entry.endswith(".py") else entry for entry in environment.blocks()]
    environment.set_blocks(entries)  # a child process may start in another folder
    failed = []
    for entry in entries:
        try:
            if entry.endswith(".py"):
                _import_file(Path(entry))
            else:
                importlib.import_module(entry)
        except ImportError as error:
            failed.append(f"{environment.BLOCKS} names {entry!r}, which cannot be imported: {error}")
    if failed:
        raise ImportError("; ".join(failed))


def modules() -> set[str]:
    """Return the names of the modules that `YOLO_BACKBONES_BLOCKS` names."""
    return {Path(entry).stem if entry.endswith(".py") else entry for entry in environment.blocks()}


def _import_file(path: Path) -> ModuleType:
    # Under its plain name, as a script beside it would import it: checkpoints refer to it by that name.
    known = sys.modules.get(path.stem)
    if known is not None:
        file = getattr(known, "__file__", None) or "built in"
        if Path(file).resolve() != path.resolve():
            raise ImportError(f"a module called {path.stem} is loaded already ({file}); rename yours")
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError("there is no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
