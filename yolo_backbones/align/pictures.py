"""Pictures without labels: found, checked, and handed to Ultralytics' trainer as a data set."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.utils import NUM_THREADS
from ultralytics.utils.patches import imread

from .. import names

_HELD_OUT = 20  # one picture in so many measures the distance, where there is no validation split; at least one
_MOST_HELD_OUT = 200
_LEAST_SIDE = 10  # pixels; Ultralytics takes no smaller picture either


@dataclass(frozen=True)
class Pictures:
    """Files of pictures: those that are learned from, and those that the distance is measured on.

    Attributes:
        train: absolute paths.
        held_out: absolute paths; none of them is in `train`.
        unreadable: those left out.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    unreadable: tuple[str, ...]

    def write(self, file: Path, teacher: str, names: dict[int, str], channels: int = 3) -> None:
        """Write a data set's YAML, with its lists of pictures beside it, a teacher and its classes."""
        lists = {"train": self.train, "val": self.held_out}
        for split, files in lists.items():
            file.with_name(f"{split}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
        content: dict[str, Any] = {"path": str(file.parent), "train": "train.txt", "val": "val.txt", "names": names}
        content["teacher"] = teacher
        if channels != 3:
            content["channels"] = channels
        file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def find(sources: Sequence[str | Path]) -> Pictures:
    """Find and check pictures.

    Args:
        sources: each a folder, a picture, a glob, a text file with a path in each line, or a data set's YAML, of which
            the train split is taken, and the validation split to measure the distance on.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: no picture is readable.
    """
    found: dict[str, None] = {}
    validation: dict[str, None] = {}
    for source in sources:
        for split, files in _read(source).items():
            (found if split == "train" else validation).update(dict.fromkeys(files))
    validation = {file: None for file in validation if file not in found}
    readable, unreadable = _check([*found, *validation])
    train = [file for file in found if file in readable]
    held_out = [file for file in validation if file in readable]
    if not train:
        raise ValueError(_nothing(sources, unreadable))
    if not held_out and len(train) > 1:
        # Every twentieth: one folder's pictures may lie in the order of what is in them.
        step = max(_HELD_OUT, len(train) // _MOST_HELD_OUT)
        held_out = train[step // 2 :: step] or train[-1:]
        train = [file for file in train if file not in set(held_out)]
    return Pictures(tuple(train), tuple(held_out or train), tuple(unreadable))


def _nothing(sources: Sequence[str | Path], unreadable: Sequence[str]) -> str:
    where = ", ".join(map(str, sources))
    if unreadable:
        return f"none of the {len(unreadable)} pictures of {where} can be read, {unreadable[0]} for one"
    return f"there is no picture in {where}; a picture's name ends with one of {', '.join(sorted(IMG_FORMATS))}"


def _read(source: str | Path) -> dict[str, list[str]]:
    """List a source's pictures by split."""
    path = Path(source)
    if path.suffix in names.SUFFIXES:
        data = check_det_dataset(str(source), autodownload=True)
        return {split: _listed(data[split]) for split in ("train", "val") if data.get(split)}
    if path.exists():
        return {"train": _listed(path)}
    matches = sorted(glob.glob(str(source), recursive=True))
    if not matches:
        raise FileNotFoundError(
            f"there is no {source}; name a folder, a picture, a pattern in quotes, a list in a .txt, or a data's YAML"
        )
    return {"train": [file for match in matches for file in _listed(Path(match))]}


def _listed(paths: Any) -> list[str]:
    found: list[str] = []
    for path in map(Path, paths if isinstance(paths, list) else [paths]):
        if path.is_dir():
            found += sorted(str(file) for file in path.rglob("*") if _is_picture(file))
        elif path.suffix == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            found += [str(path.parent / line) for line in map(str.strip, lines) if line]
        elif _is_picture(path):
            found.append(str(path))
    return [str(Path(file).absolute()) for file in found]


def _is_picture(file: Path) -> bool:
    return file.suffix[1:].lower() in IMG_FORMATS


def _check(files: Iterable[str]) -> tuple[set[str], list[str]]:
    """Decode each picture once: a file that cannot be read would end the training in the middle."""
    files = list(files)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        readable = {file for file, good in zip(files, pool.map(_is_readable, files)) if good}
    return readable, [file for file in files if file not in readable]


def _is_readable(file: str) -> bool:
    try:
        picture = imread(file)
    except (OSError, cv2.error):  # gone or unreachable; an empty file
        return False
    return picture is not None and min(picture.shape[:2]) >= _LEAST_SIDE


class UnlabelledDataset(YOLODataset):  # type: ignore[misc]
    """Ultralytics' data set, with its augmentation, that looks for no labels and writes no cache of them."""

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """Return the pictures of a list in a text file; a list of pictures is returned as it is."""
        return img_path if isinstance(img_path, list) else super().get_img_files(img_path)

    def get_labels(self) -> list[dict[str, Any]]:
        """Return an empty label for each picture."""
        self.label_files: list[str] = []
        return [_empty(file) for file in self.im_files]


def _empty(file: str) -> dict[str, Any]:
    return {
        "im_file": file,
        "shape": (0, 0),  # of the file; only rectangular training reads it
        "cls": np.zeros((0, 1), dtype=np.float32),
        "bboxes": np.zeros((0, 4), dtype=np.float32),
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }
