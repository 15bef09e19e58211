"""The data set of a comparison, read as the trainings will read it, so that what is wrong with it is known before."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.utils import DEFAULT_CFG

from ..messages import first_line


def describe(path: str, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what the plan holds of a data set.

    Labels are read, and Ultralytics' caches of them written: else several runs would write them at once.

    Args:
        path: of its YAML, of its folder for classification, or a name of either that Ultralytics knows.
        task: Ultralytics' name.
        arguments: of `yolo train`.

    Raises:
        ValueError: there is none, or it is for another task.
    """
    try:
        found = check_cls_dataset(path) if task == "classify" else check_det_dataset(path)
    except (ValueError, OSError, RuntimeError, SyntaxError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"--data {path}: {first_line(error)}{_advice(path, task)}") from None
    if not found.get("val"):
        raise ValueError(f"--data {path}: it has no validation split, which every figure comes from; add val")
    settings = get_cfg(DEFAULT_CFG, {**arguments, "task": task, "cache": None})
    counts = {}
    for split in ("train", "val"):
        try:
            counts[split] = _images(found, split, task, settings)
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(f"--data {path}, {split}: {first_line(error)}") from None
    where = Path(found["yaml_file"]) if task != "classify" else Path(found["train"]).parent
    names = list(found["names"].values())
    return {"path": str(where.resolve()), "hash": _hash(where), "names": names, **counts}


def _advice(path: str, task: str) -> str:
    if task == "classify" and Path(path).suffix in {".yaml", ".yml"}:
        return "; the models classify whole images, for which a data set is a folder"
    if task != "classify" and Path(path).is_dir():
        return f"; the models are for {task}, for which a data set is a YAML file"
    return ""


def _images(found: dict[str, Any], split: str, task: str, settings: Any) -> int:
    """Return how many images a split has for Ultralytics, which leaves damaged ones and, of `fraction`, others out."""
    if task == "classify":
        return len(ClassificationDataset(str(found[split]), settings, augment=False, prefix=split))
    return len(build_yolo_dataset(settings, found[split], batch=1, data=found, mode=split))


def _hash(where: Path) -> str:
    """Return the hash of a YAML file, or of the names of a folder's files."""
    if where.is_file():
        content = where.read_bytes()
    else:
        content = "\n".join(sorted(str(file.relative_to(where)) for file in where.rglob("*.*"))).encode()
    return hashlib.sha256(content).hexdigest()[:16]
