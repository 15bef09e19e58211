"""The configs that come with the package, found by name.

`yolov8n-starnet.yaml` is the file `yolov8-starnet.yaml` at scale `n`, from any directory. A file on disk wins over a
shipped one, and so does a name that Ultralytics itself has.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from pathlib import Path

from . import names

_PACKAGE = Path(__file__).parent
# In a wheel the configs lie in the package; in a checkout beside it.
CFG = _PACKAGE / "cfg" if (_PACKAGE / "cfg").is_dir() else _PACKAGE.parent / "cfg"

FAMILY = "yolov8-"  # the families are written as configs of YOLOv8

_HEAD_LINES = 6  # of a config, which contain its other names
_ALIAS_LINE = re.compile(r"^# Also called: (.+)$", re.MULTILINE)


@functools.cache
def models() -> dict[str, Path]:
    """Return the shipped model configs by stem without a scale letter, aliases included."""
    files = {path.stem: path for path in sorted(CFG.glob("*.yaml"))}
    also = {alias: path for path in files.values() for alias in _aliases(path)}
    return files | also


def _aliases(path: Path) -> list[str]:
    """Read the other names that a config's first lines give it."""
    found = _ALIAS_LINE.search(head(path))
    return found[1].split(", ") if found else []


def head(path: Path) -> str:
    """Read the first lines of a config, which contain the paper and other names."""
    with open(path, encoding="utf-8") as lines:
        return "".join(itertools.islice(lines, _HEAD_LINES))


def datasets() -> dict[str, Path]:
    """Return the shipped data set configs by stem."""
    return {path.stem: path for path in sorted((CFG / "datasets").glob("*.yaml"))}


def find_model(path: Path) -> Path | None:
    """Find the file to read for a model's name or path; None leaves it to Ultralytics.

    Args:
        path: as the user gave it, with or without folder and scale letter.
    """
    if path.suffix not in names.SUFFIXES or os.path.exists(path):  # Path.exists raises where a folder may not be read
        return None
    plain = path.with_name(names.without_scale(path.stem) + path.suffix)
    if os.path.exists(plain):  # Ultralytics finds it as well, unless a folder's name looks like a version and a scale
        return plain
    return models().get(plain.stem)


def find_dataset(path: Path) -> Path | None:
    """Find the shipped file for a data set's name or path; None leaves it to Ultralytics.

    Only for a bare name and for `cfg/datasets/`: no shipped data set may replace one of the user's own that is missing.
    """
    if path.suffix not in names.SUFFIXES or os.path.exists(path) or path.parent not in {Path(), Path("cfg/datasets")}:
        return None
    return datasets().get(path.stem)
