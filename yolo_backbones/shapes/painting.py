"""Painting of a scene: textured ground, and fills that stand out from it."""

from __future__ import annotations

import cv2
import numpy as np

from .scene import Scene

MIN_CONTRAST = 100.0  # least distance in BGR between a fill and the mean of what it covers


def paint(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return the picture of a scene: (imgsz, imgsz, 3) uint8, BGR, with its own colours, ground, blur and noise."""
    imgsz = len(scene.owner)
    canvas = _ground(rng, imgsz)
    for shape in scene.shapes:
        coverage = shape.coverage(imgsz)
        x, y, w, h = cv2.boundingRect(coverage)
        part, coverage = canvas[y : y + h, x : x + w], coverage[y : y + h, x : x + w]  # the rest does not change
        fill = _fill(rng, np.array(cv2.mean(part, coverage)[:3])) * (1 + 0.2 * _ramp(rng, h, w))[..., None]
        part += (coverage / np.float32(255))[..., None] * (fill - part)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.2, 0.9))
    noise = np.float32(rng.uniform(1, 7)) * rng.standard_normal((imgsz, imgsz, 1), np.float32)
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)


def _fill(rng: np.random.Generator, below: np.ndarray) -> np.ndarray:
    """Return a random colour that stands out from `below`; both (3,) BGR in 0..255."""
    while True:  # a few turns at most: few colours are that close to `below`
        fill = rng.uniform(15, 240, 3).astype(np.float32)
        if np.linalg.norm(fill - below) > MIN_CONTRAST:
            return fill


def _ramp(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Return a slope in a random direction, between about -1 and 1: (h, w) float32."""
    turn = rng.uniform(0, 2 * np.pi)
    xs, ys = np.cos(turn) * np.linspace(-1, 1, w), np.sin(turn) * np.linspace(-1, 1, h)
    return (xs[None] + ys[:, None]).astype(np.float32)


def _ground(rng: np.random.Generator, imgsz: int) -> np.ndarray:
    """Return a ground of two colours mixed by noise in octaves, a slope and, in half of the pictures, stripes.

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
