"""Looks whether the plugin works: in this Python, in a fresh one, in the `yolo` command; and if not, what to do.

The other two are asked by running them with a probe that reports and ends the process. Into `yolo` it gets as a
`sitecustomize` on PYTHONPATH: so the answer comes from the very Python that `yolo` starts, through whatever wrapper,
and not from a guess at the script's first line.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__, _autoload

PACKAGES = ("ultralytics", "torch", "torchvision", "timm")
USER_BLOCKS = "YOLO_BACKBONES_BLOCKS"  # as in registry.py, which imports torch
SAFE_LOAD = "ULTRALYTICS_SAFE_LOAD"

_PTH, _START = "yolo_backbones.pth", "yolo_backbones.start"
_REINSTALL = "-m pip install --force-reinstall --no-deps yolo-backbones"
_SWITCH_ON = f"unset {_autoload.SWITCH}"
_REPORT = "_YOLO_BACKBONES_REPORT"
_PATIENCE = 180  # seconds; the first import of torch from a slow disk takes long

# Runs in any Python, and must not import yolo_backbones: whether that came by itself is the question. Reported twice,
# so that an import that takes the process down leaves at least which Python it was.
_PROBE = """
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


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        value: what was found.
        advice: what to do about it, in one sentence; empty where all is right.
    """

    name: str
    value: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        return not self.advice


@dataclass
class _Answer:
    """What a probed process said; `found` is empty if no Python of it ran the probe."""

    found: dict[str, Any]
    said: str  # by the plugin, on stderr

    @property
    def active(self) -> bool:
        return bool(self.found.get("active"))

    @property
    def trouble(self) -> str:
        return str(self.found.get("error") or self.said)


def examine() -> list[Check]:
    """Looks at everything; takes as long as importing Ultralytics, some seconds."""
    yolo = shutil.which("yolo")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as cleanup:
        # Both at once, while this process imports Ultralytics itself.
        fresh = _Probe([sys.executable, "-c", _PROBE], Path(folder) / "fresh", cleanup)
        command = _Probe([yolo, "version"], Path(folder) / "yolo", cleanup, inject=True) if yolo else None
        here, blocks, loading = _here()
        fresh_answer = fresh.answer()
        yolo_answer = command.answer() if command else None
    start_up = _start_up(fresh_answer)
    return [
        _python(),
        Check("yolo_backbones", f"{__version__}, {Path(__file__).parent}"),
        *map(_package, PACKAGES),
        _switch(),
        start_up,
        _activity("this Python", here, start_up, started_plainly=not sys.flags.no_site),
        _activity("fresh Python", fresh_answer, start_up),
        _yolo(yolo, yolo_answer, fresh_answer, start_up),
        loading,
        blocks,
    ]


class _Probe:
    """A process that runs the probe, started now and asked later."""

    def __init__(self, command: list[str], folder: Path, cleanup: contextlib.ExitStack, inject: bool = False) -> None:
        folder.mkdir()
        self.report = folder / "report.json"
        env = {**os.environ, _REPORT: str(self.report)}
        if inject:
            (folder / "sitecustomize.py").write_text(_PROBE, encoding="utf-8")
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

    def answer(self) -> _Answer:
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
        return _Answer(found, _told(said.decode(errors="replace")))


def _told(text: str) -> str:
    """What the plugin said when it failed to start."""
    return next((line for line in text.splitlines() if line.startswith("yolo_backbones: ")), "")


def _here() -> tuple[_Answer, Check, Check]:
    """This process: the plugin, the user's own blocks, restricted loading."""
    said = io.StringIO()
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            tasks = importlib.import_module("ultralytics.nn.tasks")
            found["active"] = hasattr(tasks.yaml_model_load, "_yolo_backbones")
        except Exception as error:  # whatever it is, it is what the user came for
            tasks = None
            found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        blocks = _user_blocks(importable=bool(found.get("active")))
    return _Answer(found, _told(said.getvalue())), blocks, _restricted(tasks)


def _python() -> Check:
    advice = ""
    if sys.flags.no_site:
        advice = (
            "Python was started with -S, so it reads no start-up files: start it without, or import yolo_backbones "
            "in the script"
        )
    return Check("Python", f"{sys.version.split()[0]}, {sys.executable}", advice)


def _package(name: str) -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "not installed", f"install it: {sys.executable} -m pip install {name}")
    floor = _floor(name)
    if floor and _numbers(version) < _numbers(floor):
        return Check(name, version, f"{floor} or later is needed: {sys.executable} -m pip install '{name}>={floor}'")
    return Check(name, version)


def _floor(name: str) -> str:
    """The oldest release of a package that ours asks for, or an empty string."""
    try:
        needed = metadata.requires("yolo-backbones") or []
    except metadata.PackageNotFoundError:
        return ""
    found = [re.match(rf"{name}\s*>=\s*([\d.]+)", requirement) for requirement in needed]
    return next((match[1] for match in found if match), "")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]


def _switch() -> Check:
    value = os.environ.get(_autoload.SWITCH)
    if not _autoload.disabled():
        return Check(_autoload.SWITCH, "not set" if value is None else f"{value!r}, which leaves it on")
    return Check(_autoload.SWITCH, f"{value!r}, which switches the plugin off", _SWITCH_ON)


def _start_up(fresh: _Answer) -> Check:
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


def _activity(name: str, answer: _Answer, start_up: Check, started_plainly: bool = True) -> Check:
    if answer.active:
        return Check(name, "active" if started_plainly else "active, since yolo_backbones was imported")
    return Check(name, "not active", _remedy(answer, start_up))


def _remedy(answer: _Answer, start_up: Check) -> str:
    if answer.found.get("error"):
        return f"Ultralytics cannot be imported: {answer.found['error']}"
    if _autoload.disabled():
        return _SWITCH_ON
    if answer.said:
        return answer.said.removeprefix("yolo_backbones: ")
    return start_up.advice or f"reinstall the package: {sys.executable} {_REINSTALL}"


def _yolo(file: str | None, answer: _Answer | None, fresh: _Answer, start_up: Check) -> Check:
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
        return _activity(name, answer, start_up) if not answer.active else Check(name, f"active, {file}")
    state = "active" if answer.active else "not active"
    install = "" if answer.active else f"install it there: {python} -m pip install yolo-backbones"
    return Check(
        name,
        f"{state}, {file} runs another environment's {python}",
        ", or ".join(filter(None, [own, install])) or f"call yolo from {sys.prefix}, where this command runs",
    )


def _restricted(tasks: Any) -> Check:
    name = f"restricted loading ({SAFE_LOAD})"
    if tasks is None:
        return Check(name, "unknown, since Ultralytics cannot be imported")
    value = os.environ.get(SAFE_LOAD, "")
    if value.strip().lower() in {"", "0", "false", "no", "off"}:
        return Check(name, "off")
    works = getattr(tasks, "SAFE_LOAD", None)
    if not works:
        upgrade = f"this Ultralytics does not know it: {sys.executable} -m pip install -U ultralytics"
        return Check(name, f"{value!r}, which has no effect", upgrade if works is None else f"set {SAFE_LOAD}=1")
    if not hasattr(tasks.torch_safe_load, "_yolo_backbones"):
        return Check(name, "on, and refuses these models' checkpoints", "see to it that the plugin is active")
    return Check(name, "on, and accepts these models' checkpoints")


def _user_blocks(importable: bool) -> Check:
    entries = [entry for entry in os.environ.get(USER_BLOCKS, "").split(os.pathsep) if entry]
    if not entries:
        return Check(USER_BLOCKS, "not set")
    value = ", ".join(entries)
    if not importable:
        return Check(USER_BLOCKS, f"{value}, not imported, since the plugin is not active")
    registry = importlib.import_module(f"{__package__}.registry")
    try:
        registry.import_user_blocks()
    except Exception as error:  # a user's file may fail in any way
        why = " ".join(str(error).split())
        return Check(USER_BLOCKS, value, f"correct or unset it: {why or type(error).__name__}")
    return Check(USER_BLOCKS, value)
