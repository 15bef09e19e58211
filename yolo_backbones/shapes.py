"""Data sets that are drawn instead of downloaded: overlapping shapes on textured ground.

`cfg/datasets/shapes.yaml`, `shapes-seg.yaml` and `shapes-obb.yaml` call `draw` the first time they are used. Colour,
size, angle and ground say nothing about the class, so a network that finds these objects has learnt their shape. A
label holds the pixels of its object that can be seen, as COCO's do, and no object is hidden so far that a label for it
would be a guess. For boxes and polygons the pictures are the same. For oriented boxes every shape is slender and wholly
in the picture: the angle of a circle or of a regular star says nothing, and one cut off gets the angle of the edge.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("circle", "rectangle", "triangle", "star", "ring")
TASKS = ("detect", "segment", "obb")  # as Ultralytics names them

RADIUS = (0.07, 0.25)  # of the circumscribed circle, as a share of the picture's side; log-uniform between
COUNT = (3, 8)  # objects that are tried for, least and most
MIN_VISIBLE = 0.6  # every object keeps at least this share of its area in sight
MIN_CONTRAST = 100.0  # least distance in BGR between a fill and the mean of what it covers
SLENDER = (0.3, 0.5)  # of slender shapes: their width against their length, as a share of what it would be otherwise
_NOTE = "README.txt"  # written into the set: what was drawn, so that a second call can tell


@dataclass(frozen=True)
class Shape:
    """One object as geometry: everything a box, an oriented box or a polygon label is made from.

    Args:
        cls: index into `CLASSES`.
        contours: the outline, then a hole if there is one; each (N, 2) float32, x and y in pixels.
            They may leave the picture.
    """

    cls: int
    contours: tuple[np.ndarray, ...]

    @property
    def area(self) -> float:
        """Square pixels inside the outline and outside the hole, in the picture or not."""
        outline, *holes = (cv2.contourArea(contour) for contour in self.contours)
        return outline - sum(holes)

    def coverage(self, imgsz: int) -> np.ndarray:
        """How much of each pixel the shape covers: (imgsz, imgsz) uint8, 255 is all of it."""
        canvas = np.zeros((imgsz, imgsz), np.uint8)
        bits = 4  # fillPoly takes fixed-point coordinates; a hole works because it fills by the even-odd rule
        points = [np.rint(contour * (1 << bits)).astype(np.int32) for contour in self.contours]
        return cv2.fillPoly(canvas, points, 255, lineType=cv2.LINE_AA, shift=bits)


@dataclass(frozen=True)
class Scene:
    """Shapes in painting order, the later ones in front.

    Args:
        shapes: the objects.
        owner: (imgsz, imgsz) int, the index of the shape seen at each pixel, -1 for the ground.
    """

    shapes: tuple[Shape, ...]
    owner: np.ndarray

    def boxes(self) -> np.ndarray:
        """The extent of what is seen of each shape: (N, 4) float, x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""
        boxes = np.zeros((len(self.shapes), 4))
        for i in range(len(self.shapes)):
            x, y, w, h = cv2.boundingRect((self.owner == i).astype(np.uint8))
            boxes[i] = x, y, x + w, y + h
        return boxes

    def oriented_boxes(self) -> np.ndarray:
        """The smallest rectangle at any angle around what is seen of each shape.

        Shape:
            (N, 4, 2) float: corners in pixels, clockwise as one sees them, from the left of the centre on; so those of
            an upright box begin at the top left. They may leave the picture.
        """
        boxes = np.zeros((len(self.shapes), 4, 2))
        for i in range(len(self.shapes)):
            hull = cv2.convexHull(cv2.findNonZero((self.owner == i).astype(np.uint8)))
            pixels = (hull + np.array([[0, 0], [1, 0], [1, 1], [0, 1]])).reshape(-1, 2)  # a pixel is a square
            corners = cv2.boxPoints(cv2.minAreaRect(pixels.astype(np.float32)))
            x, y = (corners - corners.mean(0)).T
            boxes[i] = corners[np.argsort(np.arctan2(y, x))]  # OpenCV's own order depends on its release
        return boxes

    def polygons(self) -> list[np.ndarray]:
        """The outline of what is seen of each shape: (P, 2) float, the middles of the pixels along it.

        A label is one polygon. So holes, and parts that something in front cuts off, are joined to the first part by a
        line there and back, and what is inside counts by the even-odd rule.
        """
        polygons = []
        for i in range(len(self.shapes)):
            mask = (self.owner == i).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
            first, *others = (contour[:, 0] for contour in sorted(contours, key=cv2.contourArea, reverse=True))
            path = [first, first[:1]]
            for other in others:
                path += [other, other[:1], first[:1]]
            polygons.append(np.concatenate(path) + 0.5)
        return polygons


def draw(
    root: Path | str, train: int = 512, val: int = 64, imgsz: int = 320, seed: int = 0, task: str = "detect"
) -> None:
    """Draw a set into the folder `root`, in the layout of Ultralytics: images/ and labels/, in each train/ and val/.

    The same arguments give the same files, and picture i of a split does not depend on how many there are. The folder
    appears in one step when everything is drawn. If the very same set is there already, nothing is done.

    Args:
        root: the folder to make; its parents are made too.
        train: number of pictures to train on.
        val: number of pictures to validate on.
        imgsz: side of the square pictures in pixels.
        seed: any non-negative integer.
        task: what the labels are: boxes (`detect`), polygons (`segment`) or oriented boxes (`obb`).

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
    if _holds(root, note):
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"shapes.draw: {root} exists and is not this set; delete it or draw into another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    # Drawn next to its place and moved there at the end: Ultralytics takes a folder that exists for a complete set.
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temp:
        work = Path(temp) / root.name
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
            if not _holds(root, note):  # otherwise another process was faster with the same files
                raise


def _holds(root: Path, note: str) -> bool:
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
    """What follows the class in a label, for each shape: (K,) float, as shares of the picture's side."""
    imgsz = len(scene.owner)
    if task == "obb":
        return [corners.ravel() / imgsz for corners in scene.oriented_boxes()]
    if task == "segment":
        return [polygon.ravel() / imgsz for polygon in scene.polygons()]
    boxes = scene.boxes() / imgsz
    return list(np.hstack(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2])))


def arrange(rng: np.random.Generator, imgsz: int, slender: bool = False) -> Scene:
    """Place shapes one in front of the other.

    A place that would hide too much of any of them is refused. So every shape gets a label, and no half-seen one is
    left without for the network to be punished for.

    Args:
        rng: where every choice comes from.
        imgsz: side of the square picture in pixels.
        slender: every shape is long and narrow, and none leaves the picture.
    """
    shapes: list[Shape] = []
    owner = np.full((imgsz, imgsz), -1)
    wanted = int(rng.integers(COUNT[0], COUNT[1], endpoint=True))
    for _ in range(4 * wanted):  # enough tries: a picture that stays a little emptier does no harm
        if len(shapes) == wanted:
            break
        shape = _random_shape(rng, imgsz, slender)
        trial = np.where(shape.coverage(imgsz) > 127, len(shapes), owner)
        visible = np.bincount(trial.ravel() + 1, minlength=len(shapes) + 2)[1:]
        if all(seen >= MIN_VISIBLE * one.area for seen, one in zip(visible, [*shapes, shape], strict=True)):
            shapes.append(shape)
            owner = trial
    return Scene(tuple(shapes), owner)


def _random_shape(rng: np.random.Generator, imgsz: int, slender: bool) -> Shape:
    cls = int(rng.integers(len(CLASSES)))
    radius = imgsz * np.exp(rng.uniform(*np.log(RADIUS)))
    centre, turn = rng.uniform(0, imgsz, 2), rng.uniform(0, 2 * np.pi)
    polars = _polar(CLASSES[cls], rng)
    if slender:
        polars = _slender(polars, rng.uniform(*SLENDER))
        angle, reach = polars[0]
        outline = _contour(angle + turn, radius * reach, np.zeros(2))
        centre = centre * (1 - np.ptp(outline, 0) / imgsz) - outline.min(0)  # anywhere that leaves all in the picture
    return Shape(cls, tuple(_contour(angle + turn, radius * reach, centre) for angle, reach in polars))


def _contour(angle: np.ndarray, reach: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return (centre + np.stack((np.cos(angle), np.sin(angle)), 1) * reach[:, None]).astype(np.float32)


def _polar(name: str, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """The outline and the hole of a class as angles in radians and distances from the centre, at most 1."""
    whole = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if name == "circle":
        return [(whole, np.ones(64))]
    if name == "ring":
        return [(whole, np.ones(64)), (whole, np.full(64, rng.uniform(0.5, 0.65)))]
    if name == "rectangle":
        half = np.arctan(rng.uniform(0.5, 1.0))  # half the angle between the diagonals: from 2:1 to a square
        return [(np.array([-half, half, np.pi - half, np.pi + half]), np.ones(4))]
    if name == "triangle":
        return [(np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.2, 0.2, 3), np.ones(3))]
    if name == "star":
        return [(np.arange(10) * np.pi / 5, np.tile([1.0, rng.uniform(0.38, 0.5)], 5))]
    raise ValueError(f"shapes: no outline for {name!r}; known are {', '.join(CLASSES)}")


def _slender(polars: list[tuple[np.ndarray, np.ndarray]], share: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `_polar` returns, made narrower against its length, with the area it had.

    It grows along its longer side. A triangle that grew along its height would have three rectangles of the same,
    smallest, area around it, each at another angle.
    """
    contours = [_contour(angle, reach, np.zeros(2)) for angle, reach in polars]
    scale = np.full(2, np.sqrt(share))
    scale[np.ptp(contours[0], 0).argmax()] = 1 / np.sqrt(share)
    return [(np.arctan2(y, x), np.hypot(x, y)) for x, y in ((contour * scale).T for contour in contours)]


def paint(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The picture of a scene: (imgsz, imgsz, 3) uint8, BGR, with its own colours, ground, blur and noise."""
    imgsz = len(scene.owner)
    canvas = _ground(rng, imgsz)
    for shape in scene.shapes:
        coverage = shape.coverage(imgsz)
        x, y, w, h = cv2.boundingRect(coverage)
        part, coverage = canvas[y : y + h, x : x + w], coverage[y : y + h, x : x + w]  # the rest stays as it is
        fill = _fill(rng, np.array(cv2.mean(part, coverage)[:3])) * (1 + 0.2 * _ramp(rng, h, w))[..., None]
        part += (coverage / np.float32(255))[..., None] * (fill - part)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.2, 0.9))
    noise = np.float32(rng.uniform(1, 7)) * rng.standard_normal((imgsz, imgsz, 1), np.float32)
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)


def _fill(rng: np.random.Generator, below: np.ndarray) -> np.ndarray:
    """A random colour that stands out from `below`; both (3,) BGR in 0..255."""
    while True:  # at most a few turns: a colour as close as that is rare wherever `below` lies
        fill = rng.uniform(15, 240, 3).astype(np.float32)
        if np.linalg.norm(fill - below) > MIN_CONTRAST:
            return fill


def _ramp(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A slope in a random direction, between about -1 and 1: (h, w) float32."""
    turn = rng.uniform(0, 2 * np.pi)
    xs, ys = np.cos(turn) * np.linspace(-1, 1, w), np.sin(turn) * np.linspace(-1, 1, h)
    return (xs[None] + ys[:, None]).astype(np.float32)


def _ground(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    """Two colours mixed by noise in octaves, a slope and, in half of the pictures, stripes.

    Shape:
        (imgsz, imgsz, 3) float32, BGR in 0..255.
    """
    mix = rng.uniform(0, 0.6) * _ramp(rng, imgsz, imgsz)
    for octave in range(2, 7):
        cells = rng.uniform(-1, 1, (2**octave, 2**octave)).astype(np.float32)
        mix += cv2.resize(cells, (imgsz, imgsz), interpolation=cv2.INTER_CUBIC) * np.float32(2.0 ** (1 - octave / 1.5))
    if rng.random() < 0.5:
        mix += rng.uniform(0.2, 0.6) * np.sin(_ramp(rng, imgsz, imgsz) * rng.uniform(10, 60)).astype(np.float32)
    mix = np.clip(mix / 2 + 0.5, 0, 1)[..., None]
    grey, tint = rng.uniform(40, 200, (2, 1)), rng.uniform(-35, 35, (2, 3))
    one, other = np.clip(grey + tint, 0, 255).astype(np.float32)
    return one + mix * (other - one)
