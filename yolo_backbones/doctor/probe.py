"""Other Pythons, asked whether the plugin is active in them, by running them with a probe that reports and ends them.

Into `yolo` the probe gets as a `sitecustomize` on PYTHONPATH: so the answer comes from the very Python that `yolo`
starts, through whatever wrapper, and not from a guess at the script's first line.
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
_PATIENCE = 180  # seconds; the first import of torch from a slow disk takes long

# Runs in any Python, and must not import yolo_backbones: whether that came by itself is the question. Reported twice,
# so that an import that takes the process down leaves at least which Python it was.
PROBE = """
import json, os, site, sys
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
        """Wait for the process, and give what it said."""
        said = b""
        if self.process is not None:
            try:
                _, said = self.process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.error = f"it took more than {_PATIENCE} seconds"
        try:
            found = json.loads(self.report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if self.error:
            found["error"] = self.error
        return Answer(found, told(said.decode(errors="replace")))


def told(text: str) -> str:
    """Return what the plugin said when it failed to start."""
    return next((line for line in text.splitlines() if line.startswith("yolo_backbones: ")), "")
