"""Trains the golden checkpoints of `tests/data/golden`: one small detector a family, and one of a timm network.

    python benchmarks/golden.py             # those that are not there yet
    python benchmarks/golden.py --only lsknet

A checkpoint that is there stays: it stands for those that users have, and a release that no longer opens it breaks
theirs. Beside each lies what it found in a picture, which `tests/test_golden.py` compares. Each takes half a minute.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "golden"
TIMM = "test_convnext"
SIDE = 96  # pixels
MOST = 300_000  # bytes
# As YOLOv8's scale n, at an eighth of its width and one block a row, with a head of few layers.
SCALES = {"n": [0.1, 0.03125, 1024]}


def config(name: str) -> dict[str, Any]:
    """Return the model's YAML."""
    from yolo_backbones import compose, configs
    from yolo_backbones.families import families

    common = {"nc": 5, "reg_max": 1, "scales": SCALES}
    if name in families():
        found = yaml.safe_load(configs.models()[f"yolov8-{name}"].read_text(encoding="utf-8"))
        return common | {"backbone": found["backbone"][:9], "head": [[[4, 6, 8], 1, "Detect", ["nc"]]]}
    # A published network has its own width: its first stages alone.
    _, _, _, (_, channels, _) = compose("yolov8n", name)["backbone"][0]
    network = [-1, 1, "Network", [name, channels[:1], {"strides": [8]}]]
    return common | {
        "backbone": [network, [0, 1, "FeatureMap", [0, channels[0]]]],
        "head": [[[1], 1, "Detect", ["nc"]]],
    }


def picture() -> torch.Tensor:
    """Return a picture that no library draws otherwise one day: (1, 3, SIDE, SIDE) in 0..1, squares on a slope."""
    ramp = torch.linspace(0, 1, SIDE)
    image = 0.5 * (ramp[:, None] + ramp[None, :]).repeat(3, 1, 1)
    for i, (y, x, side) in enumerate([(8, 10, 24), (50, 40, 30), (20, 60, 20)]):
        image[i, y : y + side, x : x + side] = 1
        image[(i + 1) % 3, y : y + side, x : x + side] = 0
    return image[None]


def boxes(checkpoint: Path) -> list[list[float]]:
    """Return the ten surest anchors' boxes and scores, as the network gives them before any suppression."""
    from ultralytics import YOLO

    net = YOLO(checkpoint).model.float().eval()
    with torch.no_grad():
        found = net(picture())
    found = found[0] if isinstance(found, (list, tuple)) else found
    anchors = found[0].T  # (A, 4 + nc)
    best = anchors[:, 4:].amax(1).argsort(descending=True, stable=True)[:10]
    return [[round(value, 4) for value in row] for row in anchors[best].tolist()]


def train(name: str, folder: Path) -> Path:
    """Train one in a folder; return the checkpoint."""
    from ultralytics import YOLO

    from yolo_backbones import shapes

    os.chdir(folder)
    shapes.draw(folder / "shapes", train=64, val=16, imgsz=SIDE)
    data = {"path": str(folder / "shapes"), "train": "images/train", "val": "images/val"}
    data["names"] = dict(enumerate(shapes.CLASSES))
    Path("shapes.yaml").write_text(yaml.safe_dump(data))
    file = Path(f"yolov8n-golden-{name}.yaml")
    file.write_text(yaml.safe_dump(config(name)))
    YOLO(file).train(
        data="shapes.yaml", epochs=60, imgsz=SIDE, batch=8, workers=0, plots=False, val=False, device="cpu", seed=0,
        pretrained=False, project=str(folder / "runs"), name=name, verbose=False,
    )  # fmt: skip
    return folder / "runs" / name / "weights" / "last.pt"


def stripped(checkpoint: Path) -> dict[str, Any]:
    """Return the checkpoint without what only this machine knows: paths, dates, the repository."""
    found = torch.load(checkpoint, weights_only=False)
    model = copy.deepcopy(found["model"])
    model.yaml["yaml_file"] = Path(model.yaml["yaml_file"]).name
    model.args = {"task": "detect", "imgsz": SIDE}
    day = datetime.date.today().isoformat()
    kept = {"epoch": -1, "model": model, "ema": None, "optimizer": None, "train_args": dict(model.args), "date": day}
    return kept | {"version": found["version"]}


def main() -> None:
    from yolo_backbones.families import families

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="of the families, or the timm network's name; made anew")
    args = parser.parse_args()
    names = args.only or [name for name in [*families(), TIMM] if not (FOLDER / f"{name}.pt").exists()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as temp:
            here = Path.cwd()
            found = stripped(train(name, Path(temp)))
            os.chdir(here)
        target = FOLDER / f"{name}.pt"
        torch.save(found, target)
        size = target.stat().st_size
        if size > MOST:
            raise SystemExit(f"{target.name} has {size} bytes, more than {MOST}: make the model smaller")
        (FOLDER / f"{name}.json").write_text(json.dumps(boxes(target), indent=0) + "\n", encoding="utf-8")
        print(f"{target.relative_to(FOLDER.parents[2])}: {size} bytes")


if __name__ == "__main__":
    main()
