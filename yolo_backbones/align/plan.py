"""The plan of an alignment, kept in its folder: to go on with the same, and to refuse another."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import lock
from ..leftovers import write_text

FILE = "alignment.json"
TRAINING = "training"  # Ultralytics' own folder: with several GPUs it begins by deleting it


@dataclass(frozen=True)
class Plan:
    """An alignment as it was asked for.

    Attributes:
        student: name or file of a config, or a checkpoint.
        teacher: path of a checkpoint.
        images: sources of pictures.
        adapters: whether maps may get a 1x1 convolution.
        arguments: of `yolo train`.
    """

    student: str
    teacher: str
    images: list[str]
    adapters: bool
    arguments: Mapping[str, Any]

    def enter(self, folder: Path, fresh: bool) -> None:
        """See that a folder holds nothing but this plan's.

        Args:
            folder: the run's.
            fresh: True drops what another plan left there.

        Raises:
            ValueError: it holds another plan, of which something was trained, or files of something else.
        """
        there = [file for file in folder.iterdir() if file.name != lock.FILE] if folder.exists() else []
        if fresh and (folder / FILE).exists():
            for file in there:
                shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
            return
        known = read_object(folder / FILE)
        if known is None:
            if there:
                raise ValueError(f"{folder} holds other files and no alignment; choose another folder with --run")
            return
        other = self._differs(known)
        # One that ended in its first epoch, as for an argument that was wrong, leaves nothing to keep.
        if other and (known.get("finished") or unfinished(folder)):
            raise ValueError(f"{folder} holds an alignment with another {other}; choose another --run, or add --fresh")

    def _differs(self, known: Mapping[str, Any]) -> str:
        """Return the first difference in words."""
        mine = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("student", "teacher", "images", "adapters"):
            if known.get(name) != mine[name]:
                return f"{name}, {known.get(name)}"
        theirs = known.get("arguments", {})
        # Where it runs, and how fast, changes nothing in what is learned.
        for name in sorted((set(theirs) | set(mine["arguments"])) - {"device", "workers", "cache", "verbose"}):
            if theirs.get(name) != mine["arguments"].get(name):
                return f"{name}={theirs.get(name)}"
        return ""

    def write(self, folder: Path, unreadable: Sequence[str]) -> None:
        """Write it into a run's folder."""
        _write(folder, {**dataclasses.asdict(self), "unreadable": list(unreadable), "finished": False})

    @staticmethod
    def finish(folder: Path) -> None:
        """Note that the training has ended."""
        _write(folder, {**(read_object(folder / FILE) or {}), "finished": True})

    @staticmethod
    def unreadable(folder: Path) -> list[str]:
        """Return the pictures that were left out."""
        return list((read_object(folder / FILE) or {}).get("unreadable", []))


def unfinished(folder: Path) -> Path | None:
    """Return the checkpoint of a training that was stopped; None if there is none."""
    last = folder / TRAINING / "weights" / "last.pt"
    return last if last.is_file() else None


def read_object(file: Path) -> dict[str, Any] | None:
    """Read a JSON object of a run; None if there is no such file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}); choose another --run, or add --fresh") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} cannot be read (it holds no object); choose another --run, or add --fresh")
    return found


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    write_text(folder / FILE, json.dumps(content, indent=1, default=str, ensure_ascii=False))
