"""Every task, by the command line, with a composed name: trained, saved, and used again.

On the small data sets of `YOLO_BACKBONES_SHARED`; where they are not to be had, on drawn pictures of the same form.
"""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import shared
from ultralytics import YOLO

from yolo_backbones import shapes

MODELS = {
    "segment": "yolo11n-fasternet_t0-seg.yaml",
    "pose": "yolov8n-skresnet18-pose.yaml",
    "classify": "yolov8n-resnet18-cls.yaml",
    "obb": "yolo26n-vanillanet-obb.yaml",
    "detect": "rtdetr-l-starnet_s050.yaml",
}
SETS = {"segment": "coco8-seg", "pose": "coco8-pose", "classify": "mnist160"}


def data_for(task: str, coco8: Path, folder: Path) -> Path:
    """A data set of the task that may be written to: its YAML, or its folder for classification."""
    if task == "detect":
        return coco8
    kept = shared()
    if kept is not None and task in SETS:
        shutil.copytree(kept / "data" / SETS[task], folder, copy_function=shutil.copyfile)
        for path in [folder, *filter(Path.is_dir, folder.rglob("*"))]:
            path.chmod(0o755)
        return folder if task == "classify" else folder / "data.yaml"
    if task == "classify":
        return drawn_classes(folder)
    shapes.draw(folder, train=4, val=4, imgsz=160, task="detect" if task == "pose" else task)
    config = {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(shapes.CLASSES)),
    }
    if task == "pose":
        add_keypoints(folder)
        config |= {"kpt_shape": [17, 3], "flip_idx": list(range(17)), "names": {0: "shape"}}
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump(config))
    return data


def drawn_classes(folder: Path) -> Path:
    """Filled squares of ten brightnesses, a folder each."""
    for part, count in (("train", 8), ("test", 4)):
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
            for i in range(count):
                picture = np.full((28, 28, 3), 20 + 20 * digit + i, np.uint8)
                cv2.imwrite(str(folder / part / str(digit) / f"{i}.png"), picture)
    return folder


def add_keypoints(folder: Path) -> None:
    """Makes each box `0 x y w h` and 17 visible points along its diagonal."""
    for file in (folder / "labels").rglob("*.txt"):
        lines = []
        for line in file.read_text().splitlines():
            x, y, w, h = map(float, line.split()[1:])
            points = [f"{x + w * t:.5f} {y + h * t:.5f} 2" for t in np.linspace(-0.5, 0.5, 17)]
            lines.append(" ".join(["0", f"{x} {y} {w} {h}", *points]))
        file.write_text("\n".join(lines))


@pytest.mark.parametrize("task", MODELS)
def test_trains_an_epoch_by_the_command_line(task, coco8, run_cli, tmp_path):
    data = data_for(task, coco8, tmp_path / "data")
    options = ["epochs=1", "imgsz=64", "batch=2", "workers=0", "plots=False", "device=cpu", "fraction=1.0"]
    run_cli(["yolo", "train", f"model={MODELS[task]}", f"data={data}", *options, f"project={tmp_path}", "name=train"])
    with open(tmp_path / "train" / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    losses = [float(value) for key, value in row.items() if "loss" in key and "train" in key]
    assert losses and all(np.isfinite(losses)) and any(losses)

    best = tmp_path / "train" / "weights" / "best.pt"
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    model = YOLO(best)
    assert model.task == task
    (result,) = model.predict(picture, imgsz=64, conf=1e-4, verbose=False)
    kind = {"segment": "masks", "pose": "keypoints", "classify": "probs", "obb": "obb", "detect": "boxes"}[task]
    assert getattr(result, kind) is not None
