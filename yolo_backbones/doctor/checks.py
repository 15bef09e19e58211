"""The doctor's checks, one a function, each with the way out."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import environment, releases, user_blocks
from ..messages import one_line
from .probe import Answer, told

_PTH, _START = "yolo_backbones.pth", "yolo_backbones.start"
_REINSTALL = "-m pip install --force-reinstall --no-deps yolo-backbones"
_SWITCH_ON = f"unset {environment.DISABLE}"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what was checked.
        value: what was found.
        advice: what to do about it, in one sentence; empty where all is right.
    """

    name: str
    value: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing has to be done."""
        return not self.advice


def here() -> tuple[Answer, list[Check]]:
    """Check this process: the plugin, its steps, restricted loading, the user's own blocks."""
    said = io.StringIO()
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            tasks = importlib.import_module("ultralytics.nn.tasks")
            found["active"] = hasattr(tasks.yaml_model_load, "_yolo_backbones")
        except Exception as error:  # any error here is what the user has to see
            tasks = None
            found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        active = bool(found.get("active"))
        blocks = user_blocks_of(importable=active)
    return Answer(found, told(said.getvalue())), [seam_of(active), restricted(tasks), blocks]


def python() -> Check:
    """Check the Python that runs: whether it reads start-up files."""
    advice = ""
    if sys.flags.no_site:
        advice = (
            "Python was started with -S, so it reads no start-up files: start it without, or import yolo_backbones "
            "in the script"
        )
    return Check("Python", f"{sys.version.split()[0]}, {sys.executable}", advice)


def package(name: str) -> Check:
    """Check that a package is installed, and new enough."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "not installed", f"install it: {sys.executable} -m pip install {name}")
    floor = _oldest_release(name)
    if floor and releases.numbers(version) < releases.numbers(floor):
        return Check(name, version, f"{floor} or later is needed: {sys.executable} -m pip install '{name}>={floor}'")
    reason = releases.untried(version) if name == "ultralytics" else ""
    return Check(name, f"{version}, {reason}" if reason else version)


def _oldest_release(name: str) -> str:
    """Find the oldest release of a package that yolo-backbones accepts, or an empty string."""
    try:
        needed = metadata.requires("yolo-backbones") or []
    except metadata.PackageNotFoundError:
        return ""
    found = [re.match(rf"{name}\s*>=\s*([\d.]+)", requirement) for requirement in needed]
    return next((match[1] for match in found if match), "")


def switch() -> Check:
    """Check that the plugin is not switched off."""
    value = os.environ.get(environment.DISABLE)
    if not environment.disabled():
        return Check(environment.DISABLE, "not set" if value is None else f"{value!r}, which leaves it on")
    return Check(environment.DISABLE, f"{value!r}, which switches the plugin off", _SWITCH_ON)


def start_up_files(fresh: Answer) -> Check:
    """Check that Python's start-up reads the package's files."""
    sites = [Path(folder) for folder in fresh.found.get("sites", [])]
    needed = [_PTH] if sys.version_info < (3, 15) else [_PTH, _START] if sys.version_info < (3, 18) else [_START]
    found = [folder / name for folder in sites for name in needed if (folder / name).is_file()]
    if found:
        return Check("start-up files", ", ".join(map(str, found)))
    others = [Path(folder) for folder in fresh.found.get("path", []) if folder]
    misplaced = [folder for folder in others if any((folder / name).is_file() for name in needed)]
    if misplaced:
        return Check(
            "start-up files",
            f"in {misplaced[0]}, where Python reads none",
            f"install into the environment itself: {sys.executable} {_REINSTALL}",
        )
    return Check("start-up files", "missing", f"reinstall the package: {sys.executable} {_REINSTALL}")


def activity(name: str, answer: Answer, start_up: Check, started_plainly: bool = True) -> Check:
    """Check that the plugin is active in a Python; if not, say why."""
    if answer.active:
        return Check(name, "active" if started_plainly else "active, since yolo_backbones was imported")
    return Check(name, "not active", _remedy(answer, start_up))


def _remedy(answer: Answer, start_up: Check) -> str:
    if answer.found.get("error"):
        return f"Ultralytics cannot be imported: {answer.found['error']}"
    if environment.disabled():
        return _SWITCH_ON
    if answer.said:
        return answer.said.removeprefix("yolo_backbones: ")
    return start_up.advice or f"reinstall the package: {sys.executable} {_REINSTALL}"


def yolo_command(file: str | None, answer: Answer | None, fresh: Answer, start_up: Check) -> Check:
    """Check that the plugin is active in the `yolo` command."""
    name = "yolo command"
    beside = Path(sys.executable).with_name("yolo.exe" if os.name == "nt" else "yolo")
    own = f"put {beside.parent} first on PATH, as activating the environment does" if beside.is_file() else ""
    if file is None or answer is None:
        way_out = own or f"install Ultralytics here: {sys.executable} -m pip install ultralytics"
        return Check(name, "not on PATH", way_out)
    python, prefix = answer.found.get("executable"), answer.found.get("prefix")
    if not python or not prefix:
        trouble = answer.trouble or "it started no Python that could be asked"
        return Check(name, f"{file}, {trouble}", own or f"see what `{file} version` says")
    if os.path.realpath(prefix) == os.path.realpath(fresh.found.get("prefix", sys.prefix)):
        return activity(name, answer, start_up) if not answer.active else Check(name, f"active, {file}")
    state = "active" if answer.active else "not active"
    install = "" if answer.active else f"install it there: {python} -m pip install yolo-backbones"
    return Check(
        name,
        f"{state}, {file} runs another environment's {python}",
        ", or ".join(filter(None, [own, install])) or f"call yolo from {sys.prefix}, where this command runs",
    )


def seam_of(active: bool) -> Check:
    """Check that every step of the seam could be installed in this Ultralytics."""
    name = "changes to Ultralytics"
    if not active:
        return Check(name, "none, since the plugin is not active")
    from .. import seam  # imports Ultralytics

    failures = seam.failures()
    if not failures:
        return Check(name, "all of them")
    upgrade = "use another release of Ultralytics, or of yolo-backbones"
    return Check(name, f"all but {', '.join(failures)}", f"{'; '.join(failures.values())}: {upgrade}")


def restricted(tasks: Any) -> Check:
    """Check whether restricted loading is on, and accepts this package's models."""
    name = f"restricted loading ({environment.SAFE_LOAD})"
    if tasks is None:
        return Check(name, "unknown, since Ultralytics cannot be imported")
    value = os.environ.get(environment.SAFE_LOAD, "")
    if not environment.is_set(environment.SAFE_LOAD):
        return Check(name, "off")
    works = vars(tasks).get("SAFE_LOAD")
    if not works:
        upgrade = f"this Ultralytics does not know it: {sys.executable} -m pip install -U ultralytics"
        return Check(
            name, f"{value!r}, which has no effect", upgrade if works is None else f"set {environment.SAFE_LOAD}=1"
        )
    if not hasattr(tasks.torch_safe_load, "_yolo_backbones"):
        return Check(name, "on, and refuses these models' checkpoints", "make sure that the plugin is active")
    return Check(name, "on, and accepts these models' checkpoints")


def user_blocks_of(importable: bool) -> Check:
    """Check that the user's own blocks can be imported."""
    entries = environment.blocks()
    if not entries:
        return Check(environment.BLOCKS, "not set")
    value = ", ".join(entries)
    if not importable:
        return Check(environment.BLOCKS, f"{value}, not imported, since the plugin is not active")
    try:
        user_blocks.import_all()
    except Exception as error:  # a user's file may fail in any way
        return Check(environment.BLOCKS, value, f"correct or unset it: {one_line(error)}")
    return Check(environment.BLOCKS, value)
