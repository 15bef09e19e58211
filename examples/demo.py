"""Train a detector with another backbone from scratch, and see what it detects.

    python examples/demo.py
    python examples/demo.py --model yolov8n-fasternet.yaml --out runs/fasternet

It needs no download and no GPU: the data set is drawn on first use, and two CPU cores take a few minutes. Once
yolo-backbones is installed, Ultralytics knows the model and the data set by name; this script does not import it.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

ENOUGH = 0.5  # mAP50 from which the demo counts as a success


def main() -> None:
    args = arguments()
    out = args.out.resolve()

    start = time.perf_counter()
    model = YOLO(args.model)
    model.train(
        data="shapes.yaml",
        epochs=args.epochs,
        imgsz=args.imgsz,
        device=args.device,
        project=out,
        name="train",
        exist_ok=True,
        # A few hundred pictures, a few epochs: many small steps, and no augmentation but flips.
        batch=4,
        nbs=4,
        optimizer="AdamW",
        lr0=0.002,
        lrf=0.05,
        cls=1.0,  # finding the objects is easy, telling the classes apart takes longer
        warmup_epochs=1,
        mosaic=0.0,
        translate=0.0,
        scale=0.0,
        hsv_h=0.0,
        hsv_s=0.0,
        hsv_v=0.0,
        flipud=0.5,
        workers=1,
        plots=False,
        amp=False,  # it would download a model to test the GPU with
    )
    trained = time.perf_counter() - start

    best = YOLO(model.trainer.best)  # from the file, as anyone would use it
    metrics = best.val(
        data="shapes.yaml",
        imgsz=args.imgsz,
        device=args.device,
        project=out,
        name="val",
        exist_ok=True,
        rect=False,  # it would add margins, which the training pictures do not have
        workers=0,
    )
    box = metrics.box
    pictures = sorted(Path(model.trainer.data["val"]).glob("*.jpg"))[:12]  # the first twelve, not the best twelve
    sheet = out / "predictions.jpg"
    draw(best, pictures, args.imgsz, args.device, sheet)

    print(
        f"\n{args.model}: {args.epochs} epochs in {trained / 60:.1f} minutes.\n"
        f"On pictures that it was not trained on: mAP50 {box.map50:.2f}, mAP50-95 {box.map:.2f}.\n"
        f"What it finds in the first {len(pictures)} of them:\n  {sheet}\n"
        f"Curves and more pictures:\n  {metrics.save_dir}\nIts weights:\n  {model.trainer.best}\n"
    )
    if box.map50 < ENOUGH:
        sys.exit(f"This is no success: mAP50 is below {ENOUGH}. Train for longer (--epochs), or something is broken.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small detector with another backbone, and see what it finds.")
    parser.add_argument("--model", default="yolov8n-starnet.yaml", help="any model name (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=160, help="side of the picture in pixels (default: %(default)s)")
    parser.add_argument("--device", default=None, help="0 for a GPU, or cpu (default: a GPU if there is one)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder to write to (default: %(default)s)")
    return parser.parse_args()


def draw(model: YOLO, pictures: list[Path], imgsz: int, device: str | None, sheet: Path) -> None:
    """Write the pictures with what the model finds in them, four in a row, as one file."""
    tiles = []
    for picture in pictures:
        image = cv2.resize(cv2.imread(str(picture)), (480, 480), interpolation=cv2.INTER_CUBIC)  # room for the text
        found = model.predict(image, imgsz=imgsz, device=device, conf=0.4, iou=0.5, verbose=False)[0]
        tiles.append(np.pad(found.plot(line_width=2), ((2, 2), (2, 2), (0, 0)), constant_values=255))
    rows = [np.hstack(tiles[i : i + 4]) for i in range(0, len(tiles), 4)]
    cv2.imwrite(str(sheet), np.vstack(rows))


if __name__ == "__main__":
    main()
