"""The pictures of `transfer.py`: a source to learn on, and a target of another kind with other classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from yolo_backbones import shapes

# The target's classes and what is drawn of each. The teacher knows none of these names.
KINDS = {"round": ("circle", "ring"), "cornered": ("rectangle", "triangle"), "spiked": ("star",)}
OBJECT = 64  # pixels, of an object that is cut out to be classified
NOISE = 20  # standard deviation of the target's noise, of 255


def draw_source(folder: Path, imgsz: int) -> str:
    """Draw what the teacher learns."""
    shapes.draw(folder, train=2048, val=256, imgsz=imgsz, seed=0)
    return write_yaml(folder, list(shapes.CLASSES))


def draw_target(folder: Path, imgsz: int, train: int) -> str:
    """Draw other pictures, grey and noisy, with other classes."""
    kinds = [next(i for i, names in enumerate(KINDS.values()) if name in names) for name in shapes.CLASSES]
    if not (folder / "data.yaml").exists():
        shapes.draw(folder, train=train, val=256, imgsz=imgsz, seed=1)
        noise = np.random.default_rng(0)
        for file in sorted(folder.glob("images/*/*")):
            grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            noisy = (grey + noise.normal(0, NOISE, grey.shape)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(file), cv2.cvtColor(noisy, cv2.COLOR_GRAY2BGR))
        for file in sorted(folder.glob("labels/*/*.txt")):
            rows = [line.split(maxsplit=1) for line in file.read_text().splitlines()]
            file.write_text("".join(f"{kinds[int(cls)]} {box}\n" for cls, box in rows))
    return write_yaml(folder, list(KINDS))


def draw_objects(source: Path, folder: Path) -> None:
    """Cut every object out of the source's pictures, with a quarter of its size around it: a set to classify."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    for split in ("train", "val"):
        for name in shapes.CLASSES:
            (part / split / name).mkdir(parents=True, exist_ok=True)
        for file in sorted((source / "labels" / split).glob("*.txt")):
            picture = cv2.imread(str(next((source / "images" / split).glob(f"{file.stem}.*"))))
            for i, row in enumerate(file.read_text().splitlines()):
                cls, *box = row.split()
                x, y, w, h = np.array(box, dtype=float) * np.tile(picture.shape[1::-1], 2)
                half = max(w, h) * 0.625
                top, left = (max(0, int(centre - half)) for centre in (y, x))
                object_ = cv2.resize(picture[top : int(y + half) + 1, left : int(x + half) + 1], (OBJECT, OBJECT))
                cv2.imwrite(str(part / split / shapes.CLASSES[int(cls)] / f"{file.stem}-{i}.png"), object_)
    part.rename(folder)


def write_yaml(folder: Path, names: Sequence[str]) -> str:
    """Write a data set's YAML; return its path."""
    file = folder / "data.yaml"
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(file)
