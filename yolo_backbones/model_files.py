"""Files of model YAMLs, read with a sentence for what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .messages import one_line

_LARGEST = 1 << 20  # bytes; the largest of Ultralytics' own has 4 kB
_LONGEST_NAME = 255  # characters, on every common file system


def read(file: Path) -> dict[str, Any]:
    """Read a model's YAML.

    Raises:
        ValueError: it is too large, no YAML, or not a mapping of keys to values.
    """
    size = file.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"{file} has {size} bytes, and a model's YAML has at most {_LARGEST}")
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as YAML: {reason(error)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds {type(found).__name__} in place of a model's keys: nc, scales, backbone, head")
    return found


def reason(error: Exception) -> str:
    """Return in one line why a file is no YAML."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        mark = error.problem_mark
        return error.problem + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    return one_line(error)[:200]


def too_long(path: Path) -> bool:
    """Tell whether a path has a part that no file can be called."""
    return any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in path.parts)
