"""The machine and the versions that a benchmark ran on."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path

from .. import __version__

_PACKAGES = ("ultralytics", "torch", "timm", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino")


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def describe() -> dict[str, str]:
    """Return the processor, the system, and the versions of the installed packages."""
    versions = {"python": platform.python_version(), "yolo-backbones": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "system": platform.system(), **versions}
