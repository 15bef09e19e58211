"""Checks of the plugin in this Python, in a fresh one and in the `yolo` command, each with the way out."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from .. import __version__
from . import checks
from .checks import Check
from .probe import PROBE, Probe

__all__ = ["Check", "examine"]

PACKAGES = ("ultralytics", "torch", "torchvision", "timm")


def examine() -> list[Check]:
    """Run all checks; this takes as long as importing Ultralytics, some seconds."""
    yolo = shutil.which("yolo")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as cleanup:
        # Both at once, while this process imports Ultralytics itself.
        fresh = Probe([sys.executable, "-c", PROBE], Path(folder) / "fresh", cleanup)
        command = Probe([yolo, "version"], Path(folder) / "yolo", cleanup, inject=True) if yolo else None
        here, of_this_process = checks.here()
        fresh_answer = fresh.answer()
        yolo_answer = command.answer() if command else None
    start_up = checks.start_up_files(fresh_answer)
    return [
        checks.python(),
        Check("yolo_backbones", f"{__version__}, {Path(__file__).parents[1]}"),
        *map(checks.package, PACKAGES),
        checks.switch(),
        start_up,
        checks.activity("this Python", here, start_up, started_plainly=not sys.flags.no_site),
        checks.activity("fresh Python", fresh_answer, start_up),
        checks.yolo_command(yolo, yolo_answer, fresh_answer, start_up),
        *of_this_process,
    ]
