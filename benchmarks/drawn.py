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


def write_yaml(folder: Path, names: Sequence[str]) -> str:
    """Write a data set's YAML; return its path."""
    file = folder / "data.yaml"
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(file)
