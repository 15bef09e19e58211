"""Train a detector with two backbones on images of six channels, such as RGB and thermal.

    python examples/two_backbones.py
    python examples/two_backbones.py --epochs 40 --imgsz 320

It needs no download and no GPU; two CPU cores take a few minutes. Each picture shows the same shapes twice, as two
cameras would, in a TIFF file of six grey pages. Ultralytics stacks them as channels if the data set's YAML says
`channels: 6`; its own augmentation of colours leaves such images alone. The model, yolov8-twobackbones.yaml beside this
file, takes them apart again with two `Channels` rows.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

from yolo_backbones import shapes

CHANNELS = 6
MODEL = Path(__file__).resolve().with_name("yolov8n-twobackbones.yaml")  # the letter after v8 is the scale


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a detector with two backbones on images of six channels.")
    parser.add_argument("--epochs", type=int, default=12, help="(default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=160, help="side of the picture in pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/two"), help="folder to write to (default: %(default)s)")
    args = parser.parse_args()
    out = args.out.resolve()

    data = draw(out / "data", imgsz=args.imgsz)
    model = YOLO(MODEL)
    model.train(
        data=data,
        epochs=args.epochs,
        imgsz=args.imgsz,
        project=out,
        name="train",
        exist_ok=True,
        # A few hundred pictures, a few epochs: many small steps, and no augmentation but flips, as in demo.py.
        batch=4,
        nbs=4,
        optimizer="AdamW",
        lr0=0.002,
        lrf=0.05,
        warmup_epochs=1,
        mosaic=0.0,
        translate=0.0,
        scale=0.0,
        flipud=0.5,
        workers=1,
        plots=False,
        amp=False,  # it would download a model to test the GPU with
    )
    metrics = YOLO(model.trainer.best).val(data=data, imgsz=args.imgsz, project=out, name="val", exist_ok=True)
    print(f"mAP50-95: {metrics.box.map:.3f}; weights: {model.trainer.best}")


def draw(root: Path, train: int = 256, val: int = 32, imgsz: int = 160) -> Path:
    """Draw a data set into the folder `root`; return its YAML."""
    for split, (name, count) in enumerate((("train", train), ("val", val))):
        images, labels = root / "images" / name, root / "labels" / name
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            rng = np.random.default_rng([split, i])
            scene = shapes.arrange(rng, imgsz)
            both = np.concatenate([shapes.paint(scene, rng), shapes.paint(scene, rng)], axis=2)
            if not cv2.imwritemulti(str(images / f"{i:05}.tiff"), list(both.transpose(2, 0, 1))):
                raise OSError(f"OpenCV could not write into {images}")
            boxes = scene.boxes() / imgsz
            centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            lines = (
                " ".join([str(shape.cls), *(f"{value:.6f}" for value in box)])
                for shape, box in zip(scene.shapes, np.hstack((centres, sizes)))
            )
            (labels / f"{i:05}.txt").write_text("\n".join(lines) + "\n")
    data = root / "data.yaml"
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(shapes.CLASSES))
    data.write_text(
        f"path: {root.resolve()}\ntrain: images/train\nval: images/val\nchannels: {CHANNELS}\nnames:\n{names}"
    )
    return data


if __name__ == "__main__":  # on Windows and macOS, each worker process imports this file again
    main()
