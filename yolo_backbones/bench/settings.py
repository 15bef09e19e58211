"""Settings that are the same for every model of a benchmark."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Packages that each backend needs, beside this package's dependencies. OpenVINO reads the ONNX file as well.
BACKENDS: dict[str, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}
MODEL_SUFFIXES = {".pt", ".yaml", ".yml"}

_COARSEST_STRIDE = 32


def cores() -> int:
    """Return the physical cores that this process may use."""
    physical = psutil.cpu_count(logical=False) or 1
    return min(physical, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else physical


@dataclass(frozen=True)
class Settings:
    """Settings of a run. Two figures can be compared where these are the same.

    Args:
        imgsz: height and width of the image, in pixels.
        batch: images in one forward.
        device: `cpu`, or the number of a GPU.
        threads: number of threads of each backend, on the CPU.
        repeats: number of timed forwards.
        warmup: number of forwards before them, right after loading.
        before_fuse: True lets torch also run the model before `fuse()`.
        simplify: True passes the ONNX graph through onnxslim, as `yolo export` does.

    Raises:
        ValueError: one of them is out of its range.
    """

    imgsz: int = 640
    batch: int = 1
    device: str = "cpu"
    threads: int = field(default_factory=cores)
    repeats: int = 20
    warmup: int = 2
    before_fuse: bool = True
    simplify: bool = True

    def __post_init__(self) -> None:
        for name in ("imgsz", "batch", "threads", "repeats", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is less than 1; take at least 1")
        if self.imgsz % _COARSEST_STRIDE:
            near = max(1, round(self.imgsz / _COARSEST_STRIDE)) * _COARSEST_STRIDE
            raise ValueError(
                f"imgsz={self.imgsz} is no multiple of {_COARSEST_STRIDE}, a detector's stride; take {near}"
            )
        if not re.fullmatch(r"cpu|\d+", self.device):
            raise ValueError(f"device={self.device!r} is neither cpu nor the number of one GPU; take cpu or 0")

    @property
    def on_cpu(self) -> bool:
        """True if models run on the CPU."""
        return self.device == "cpu"


def check(models: Sequence[str], backends: Sequence[str], settings: Settings) -> None:
    """Check models, backends and settings for what would make every row fail.

    Raises:
        ImportError: a package that a backend needs is missing.
        ValueError: a model is neither a config nor a checkpoint, or a backend is unknown or cannot use the device.
    """
    for model in models:
        if Path(model).suffix not in MODEL_SUFFIXES:
            raise ValueError(f"{model} is neither a model's config nor a checkpoint; name a .yaml or a .pt")
    for backend in backends:
        if backend not in BACKENDS:
            raise ValueError(f"{backend!r} is no backend; choose among {', '.join(BACKENDS)}")
        if backend == "openvino" and not settings.on_cpu:
            raise ValueError(f"openvino runs on the CPU, not on device {settings.device}; leave it out or take cpu")
        needed = (*BACKENDS[backend], *(["onnxslim"] if settings.simplify and backend != "torch" else []))
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            raise ImportError(f"{backend} needs {' and '.join(missing)}; pip install {' '.join(missing)}")
