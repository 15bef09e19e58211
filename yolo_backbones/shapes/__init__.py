"""Data sets that are drawn instead of downloaded: overlapping shapes on textured ground.

`cfg/datasets/shapes.yaml`, `shapes-seg.yaml` and `shapes-obb.yaml` call `draw` the first time they are used. Colour,
size, angle and ground say nothing about the class, so a network that finds these objects has learnt their shape. A
label covers the visible pixels of its object, as COCO's do, and most of each object is visible. For boxes and polygons
the pictures are the same. For oriented boxes every shape is slender and wholly in the picture: a circle or a regular
star has no angle, and a shape cut off by the picture's edge gets the edge's angle.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from .. import leftovers
from .painting import paint
from .scene import CLASSES, COUNT, MIN_VISIBLE, Scene, Shape, arrange

__all__ = ["CLASSES", "COUNT", "MIN_VISIBLE", "TASKS", "Scene", "Shape", "arrange", "draw", "paint"]

TASKS = ("detect", "segment", "obb")  # as Ultralytics names them
_NOTE = "README.txt"  # file in the set that says what was drawn, for later calls


def draw(
    root: Path | str, train: int = 512, val: int = 64, imgsz: int = 320, seed: int = 0, task: str = "detect"
) -> None:
    """Draw a set into the folder `root`, in the layout of Ultralytics: images/ and labels/, in each train/ and val/.

    The same arguments give the same files, and picture i of a split does not depend on how many there are. The folder
    appears in one step when everything is drawn. If the same set is there already, nothing is done.

    Args:
        root: the folder to make; its parents are made too.
        train: number of pictures to train on.
        val: number of pictures to validate on.
        imgsz: side of the square pictures in pixels.
        seed: any non-negative integer.
        task: kind of labels: boxes (`detect`), polygons (`segment`) or oriented boxes (`obb`).

    Raises:
        ValueError: a count below 1, `imgsz` below 64, a negative `seed`, or a `task` with no labels here.
        FileExistsError: `root` holds something else; nothing in it is touched.
    """
    if min(train, val) < 1 or imgsz < 64 or seed < 0:
        raise ValueError(
            f"shapes.draw: needs train >= 1, val >= 1, imgsz >= 64 and seed >= 0; "
            f"got train={train}, val={val}, imgsz={imgsz}, seed={seed}"
        )
    if task not in TASKS:
        raise ValueError(f"shapes.draw: there are no labels for task={task!r}; choose one of {', '.join(TASKS)}")
    root = Path(root).resolve()
    note = f"Drawn by yolo_backbones.shapes.draw(train={train}, val={val}, imgsz={imgsz}, seed={seed}"
    note += ")\n" if task == "detect" else f", task={task!r})\n"
    if _is_same_set(root, note):
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"shapes.draw: {root} exists and is not this set; delete it or draw into another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    # Drawn next to its place and moved there at the end: Ultralytics takes a folder that exists for a complete set.
    leftovers.sweep(root)
    work = leftovers.unfinished(root)
    try:
        for split, (name, count) in enumerate((("train", train), ("val", val))):
            images, labels = work / "images" / name, work / "labels" / name
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for i in range(count):
                rng = np.random.default_rng([seed, split, i])
                _write(images / f"{i:05}.jpg", labels / f"{i:05}.txt", rng, imgsz, task)
        (work / _NOTE).write_text(note, encoding="utf-8")
        try:
            if root.exists():
                root.rmdir()  # empty, see above; Windows does not rename onto a folder
            os.replace(work, root)
        except OSError:
            if not _is_same_set(root, note):  # else another process was faster with the same files
                raise
    finally:
        leftovers.remove(work)


def _is_same_set(root: Path, note: str) -> bool:
    file = root / _NOTE
    return (root / "images" / "val").is_dir() and file.is_file() and file.read_text(encoding="utf-8") == note


def _write(image: Path, label: Path, rng: np.random.Generator, imgsz: int, task: str) -> None:
    scene = arrange(rng, imgsz, slender=task == "obb")
    ok, data = cv2.imencode(".jpg", paint(scene, rng), [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not ok:
        raise OSError(f"shapes.draw: OpenCV could not encode {image}")
    image.write_bytes(data.tobytes())  # not imwrite: it fails silently, and on Windows for non-ASCII paths
    lines = []
    for shape, values in zip(scene.shapes, _labels(scene, task), strict=True):
        lines.append(" ".join([str(shape.cls), *(f"{value:.6f}" for value in values)]) + "\n")
    label.write_text("".join(lines), encoding="utf-8")


def _labels(scene: Scene, task: str) -> list[np.ndarray]:
    """Return the numbers after the class in each shape's label: (K,) float, as shares of the picture's side."""
    imgsz = len(scene.owner)
    if task == "obb":
        return [corners.ravel() / imgsz for corners in scene.oriented_boxes()]
    if task == "segment":
        return [polygon.ravel() / imgsz for polygon in scene.polygons()]
    boxes = scene.boxes() / imgsz
    return list(np.hstack(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2])))
