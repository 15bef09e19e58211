"""Probes of other Pythons: each runs a script that reports whether the plugin is active there, and ends the process.

`yolo` gets the script as a `sitecustomize` on PYTHONPATH. So the answer comes from the Python that `yolo` really
starts, through any wrapper, and not from a guess at the script's first line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REPORT = "_YOLO_BACKBONES_REPORT"
_TIMEOUT = 180  # seconds; the first import of torch from a slow disk takes long

# Runs in any Python. It must not import yolo_backbones, since it finds out whether start-up did. It reports twice, so
# that an import that ends the process still leaves which Python it was.
# The current folder is no place to import from, as it is none for `yolo`.
PROBE = """
import sys
sys.path[:] = filter(None, sys.path)
import json, os, site
found = {"executable": sys.executable, "prefix": sys.prefix, "path": sys.path, "sites": []}
def report():
    with open(os.environ["_YOLO_BACKBONES_REPORT"], "w") as file:
        json.dump(found, file)
try:
    found["sites"] += site.getsitepackages()
    found["sites"] += [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
except AttributeError:
    pass
found.update(active=False, error="importing ultralytics ended the process")
report()
try:
    from ultralytics.nn import tasks
    found["active"] = hasattr(tasks.yaml_model_load, "_yolo_backbones")
    found["error"] = ""
except BaseException as error:
    found["error"] = type(error).__name__ + ": " + " ".join(str(error).split())
report()
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
"""


@dataclass
class Answer:
    """Answer of a probed process; `found` is empty if no Python of it ran the probe."""

    found: dict[str, Any]
    said: str  # by the plugin, on stderr

    @property
    def active(self) -> bool:
        """True if the plugin was active."""
        return bool(self.found.get("active"))

    @property
    def trouble(self) -> str:
        """The error, or the plugin's own message; empty if there is none."""
        return str(self.found.get("error") or self.said)


class Probe:
    """A process that runs the probe, started now and asked later."""

    def __init__(self, command: list[str], folder: Path, cleanup: contextlib.ExitStack, inject: bool = False) -> None:
        folder.mkdir()
        self.report = folder / "report.json"
        env = {**os.environ, _REPORT: str(self.report)}
        if inject:
            (folder / "sitecustomize.py").write_text(PROBE, encoding="utf-8")
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self.error = ""
        self.process = None
        try:
            self.process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except OSError as error:
            self.error = f"{command[0]} cannot be run: {error.strerror}"
        else:
            cleanup.callback(self.process.kill)

    def answer(self) -> Answer:
        """Wait for the process, and return its answer."""
        said = b""
        if self.process is not None:
            try:
                _, said = self.process.communicate(timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.error = f"it took more than {_TIMEOUT} seconds"
        try:
            found = json.loads(self.report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if self.error:
            found["error"] = self.error
        return Answer(found, told(said.decode(errors="replace")))


def told(text: str) -> str:
    """Find the line in which the plugin said why it failed to start."""
    return next((line for line in text.splitlines() if line.startswith("yolo_backbones: ")), "")
