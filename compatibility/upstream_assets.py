"""Makes what Ultralytics' tests would download: untrained checkpoints, and drawn data sets under its sets' names.

    python compatibility/upstream_assets.py folder    # with tests/, and settings that point to weights/ and datasets/

Called by upstream.py.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import upstream
from ultralytics import RTDETR, YOLO
from ultralytics.cfg import TASK2MODEL
from ultralytics.utils import ROOT

from yolo_backbones import shapes

DRAWN = {"coco8": "detect", "coco8-seg": "segment", "dota8": "obb", "coco8-pose": "detect"}
POINTS = 17  # of coco8-pose
CLASSES = ["n01440764", "n01443537", "n01484850", "n01491361", "n01494475"]


def main() -> None:
    place = Path(sys.argv[1])
    mode = os.environ["UPSTREAM_MODE"]
    for name, task in DRAWN.items():
        draw(place / "datasets" / name, task, with_points=name.endswith("pose"))
    for name in ("imagenet10", "imagenet100"):
        classify(place / "datasets" / name)
    named = {name for file in (place / "tests").glob("*.py") for name in re.findall(r"[\w.-]+\.pt\b", file.read_text())}
    named |= {upstream.renamed(name, mode) if mode not in {"off", "on"} else name for name in TASK2MODEL.values()}
    for name in sorted(named):
        save(place / "weights" / name)
    stock = place / "weights" / (f"{upstream.BASE}.pt" if mode in {"off", "on"} else f"{upstream.BASE}-{mode}.pt")
    spaces = place / "weights" / "path with spaces"
    spaces.mkdir()
    shutil.copy(stock, spaces)


def draw(folder: Path, task: str, with_points: bool) -> None:
    shapes.draw(folder, train=4, val=4, imgsz=96, task=task)
    if with_points:
        rng = np.random.default_rng(0)
        for file in folder.glob("labels/*/*.txt"):
            lines = []
            for line in file.read_text().splitlines():
                box = np.array(line.split()[1:], dtype=float)
                points = (box[:2] + (rng.random((POINTS, 2)) - 0.5) * box[2:]).clip(0, 1)
                values = " ".join(f"{x:.5f} {y:.5f} 2" for x, y in points)
                lines.append(f"0 {' '.join(line.split()[1:])} {values}")
            file.write_text("\n".join(lines))


def classify(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for i in range(3):
                cv2.imwrite(str(folder / split / name / f"{i}.jpg"), rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))


def save(file: Path) -> None:
    """Save an untrained model of that name, if there is a config for it."""
    channels = 1 if "grayscale" in file.stem else 3
    stem = file.stem.removesuffix("-grayscale")
    known = {path.stem for path in (ROOT / "cfg" / "models").rglob("*.yaml")}
    plain = re.sub(r"^(yolo(?:e-)?v?\d+)[nslmx]", r"\1", stem)
    ours = os.environ["UPSTREAM_MODE"] in stem
    if not ours and plain not in known and stem not in known:
        return
    if not stem.startswith(("yolo", "rtdetr")):  # SAM and its kin cannot be built from a config
        return
    torch.manual_seed(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    model = (RTDETR if stem.startswith("rtdetr") else YOLO)(f"{stem}.yaml")
    if channels != 3:
        model.model = type(model.model)(f"{stem}.yaml", ch=channels, verbose=False)
    model.save(file)


if __name__ == "__main__":
    main()
