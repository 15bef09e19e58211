"""Shapes as geometry, and their arrangement in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ("circle", "rectangle", "triangle", "star", "ring")

RADIUS = (0.07, 0.25)  # of the circumscribed circle, as a share of the picture's side; log-uniform between
COUNT = (3, 8)  # least and most objects that are wanted in a picture
MIN_VISIBLE = 0.6  # least visible share of each object's area
SLENDER = (0.3, 0.5)  # of slender shapes: width over length, as a share of the same in other shapes


@dataclass(frozen=True)
class Shape:
    """One object as geometry, from which every kind of label is made.

    Args:
        cls: index into `CLASSES`.
        contours: the outline, then a hole if there is one; each (N, 2) float32, x and y in pixels.
            They may leave the picture.
    """

    cls: int
    contours: tuple[np.ndarray, ...]

    @property
    def area(self) -> float:
        """Area inside the outline and outside the hole in square pixels, in the picture or not."""
        outline, *holes = (cv2.contourArea(contour) for contour in self.contours)
        return outline - sum(holes)

    def coverage(self, imgsz: int) -> np.ndarray:
        """Return the share of each pixel that the shape covers: (imgsz, imgsz) uint8, 255 is all of it."""
        canvas = np.zeros((imgsz, imgsz), np.uint8)
        bits = 4  # fillPoly takes fixed-point coordinates; a hole works because it fills by the even-odd rule
        points = [np.rint(contour * (1 << bits)).astype(np.int32) for contour in self.contours]
        return cv2.fillPoly(canvas, points, 255, lineType=cv2.LINE_AA, shift=bits)


@dataclass(frozen=True)
class Scene:
    """Shapes in painting order, the later ones in front.

    Args:
        shapes: the objects.
        owner: (imgsz, imgsz) int, index of the shape that is visible at each pixel, -1 for the ground.
    """

    shapes: tuple[Shape, ...]
    owner: np.ndarray

    def boxes(self) -> np.ndarray:
        """Return the box of each shape's visible part: (N, 4) float, x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""
        boxes = np.zeros((len(self.shapes), 4))
        for i in range(len(self.shapes)):
            x, y, w, h = cv2.boundingRect((self.owner == i).astype(np.uint8))
            boxes[i] = x, y, x + w, y + h
        return boxes

    def oriented_boxes(self) -> np.ndarray:
        """Return the smallest rectangle at any angle around each shape's visible part.

        Shape:
            (N, 4, 2) float: corners in pixels, clockwise on the screen, starting left of the centre, so at the
            top left for an upright box. They may lie outside the picture.
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
        """Return the outline of each shape's visible part: (P, 2) float, the middles of the pixels along it.

        A label is one polygon. So a line there and back joins holes, and parts cut off by a shape in front, to the
        first part. The even-odd rule tells what is inside.
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


def arrange(rng: np.random.Generator, imgsz: int, slender: bool = False) -> Scene:
    """Place shapes one in front of the other.

    A place that would hide too much of any shape is refused. So every shape is visible enough for a label.

    Args:
        rng: source of every choice.
        imgsz: side of the square picture in pixels.
        slender: True makes every shape long and narrow, and keeps it wholly in the picture.
    """
    shapes: list[Shape] = []
    owner = np.full((imgsz, imgsz), -1)
    wanted = int(rng.integers(COUNT[0], COUNT[1], endpoint=True))
    for _ in range(4 * wanted):  # if these are not enough, the picture has fewer shapes
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
        centre = centre * (1 - np.ptp(outline, 0) / imgsz) - outline.min(0)  # anywhere that keeps it in the picture
    return Shape(cls, tuple(_contour(angle + turn, radius * reach, centre) for angle, reach in polars))


def _contour(angle: np.ndarray, reach: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return (centre + np.stack((np.cos(angle), np.sin(angle)), 1) * reach[:, None]).astype(np.float32)


def _polar(name: str, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the outline and the hole of a class as angles in radians and distances from the centre, at most 1."""
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
    """Return the result of `_polar` made longer and narrower, with the same area.

    It grows along its longer side. A triangle that grew along its height would have three smallest rectangles around
    it, of the same area and at different angles.
    """
    contours = [_contour(angle, reach, np.zeros(2)) for angle, reach in polars]
    scale = np.full(2, np.sqrt(share))
    scale[np.ptp(contours[0], 0).argmax()] = 1 / np.sqrt(share)
    return [(np.arctan2(y, x), np.hypot(x, y)) for x, y in ((contour * scale).T for contour in contours)]
