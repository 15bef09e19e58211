"""Contents of a file of weights: a state dict, or the reason why there is none."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..messages import one_line
from . import damage
from .allowed import allowed_globals

SUFFIXES = {".safetensors", ".pth", ".pt", ".bin", ".npz", ".tar"}  # that mark a file, not a tag
_DOWNLOAD_AGAIN = "download it again"
_GIVE = "give a .safetensors, .pth, .pt, .bin or .npz file"


class Unusable(Exception):
    """A file without usable weights: the reason, as in "is empty", and the way out.

    `damaged` is True if it is proven that the file is not what was written.
    """

    def __init__(self, reason: str, way_out: str = "", damaged: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.way_out = way_out
        self.damaged = damaged


def contents(path: Path) -> Any:
    """Read what a file of weights holds; its first bytes tell its format.

    Raises:
        Unusable: it holds none, or not all of them.
        OSError: it cannot be read at the moment.
        MemoryError: there is too little memory for it.
    """
    with open(path, "rb") as file:
        head = file.read(512)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        raise Unusable("is empty", _DOWNLOAD_AGAIN, damaged=True)
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise Unusable(
            "is an HTML page in place of weights", "download the file itself, not the page about it", damaged=True
        )
    if start.startswith(b"version https://git-lfs"):
        raise Unusable(
            "is a Git LFS pointer in place of weights", "fetch the file itself, `git lfs pull`", damaged=True
        )
    try:
        return _loaded(path, head)
    except (Unusable, MemoryError, OSError, ImportError):
        raise
    except Exception as error:  # each format has errors of its own, and a damaged file may raise any
        said = str(error)
        if isinstance(error, RuntimeError) and re.search(r"allocate|enough memory|unable to mmap", said):  # torch's
            raise MemoryError(said) from error
        refused = re.search(r"GLOBAL ([\w.]+)", said) if isinstance(error, pickle.UnpicklingError) else None
        if refused:
            raise _pickled_objects("ultralytics" if _mentions(path, b"ultralytics") else refused[1]) from error
        if "unexpected EOF" in said or damage.is_damaged(path):
            raise Unusable(damage.TRUNCATED, _DOWNLOAD_AGAIN, damaged=True) from error
        if head[8:9] == b"{" or head[:2] == b"PK" or head[:1] == b"\x80":
            raise Unusable(f"cannot be read as weights ({one_line(error)[:200]})", _GIVE) from error
        raise Unusable("is no file of weights", _GIVE) from error


def _loaded(path: Path, head: bytes) -> Any:
    if head[8:9] == b"{":
        import safetensors.torch

        return safetensors.torch.load_file(path)
    if head[:2] == b"PK":
        if (reason := damage.bomb(path)) is not None:
            raise Unusable(reason, _GIVE)
        if _is_npz(path):
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    # Checkpoints of training carry their arguments.
    with allowed_globals() as allowed:
        allowed.add([argparse.Namespace])
        return torch.load(path, map_location="cpu", weights_only=True)


def state_dict(found: Any) -> dict[str, torch.Tensor]:
    """Find the state dict in what a file holds: the averaged one where a training checkpoint has two.

    Raises:
        Unusable: there is none.
    """
    for key in ("state_dict_ema", "model_ema", "state_dict", "model", "module"):
        inner = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(inner, nn.Module):
            raise _pickled_objects(
                "ultralytics" if type(inner).__module__.startswith(("ultralytics", "yolo_backbones")) else ""
            )
        if isinstance(inner, Mapping):
            found = inner
            break
    items = found.items() if isinstance(found, Mapping) else ()
    state = {str(key).removeprefix("module."): value for key, value in items if isinstance(value, torch.Tensor)}
    for key, value in state.items():
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            raise Unusable(f"holds a tensor without plain numbers, {key}", "give a state dict of plain tensors")
        size = value.numel() * value.element_size()
        if size > max(value.untyped_storage().nbytes(), damage.FREE):  # a few numbers, many times over
            raise Unusable(f"holds a tensor that is larger than its numbers, {key}", "save it with .contiguous()")
    if not state:
        raise Unusable("holds no state dict", "give a file with one, as torch.save(network.state_dict(), path) writes")
    return state


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _mentions(path: Path, word: bytes) -> bool:
    if not zipfile.is_zipfile(path):
        return word in path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return any(word in archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))


def _pickled_objects(what: str) -> Unusable:
    if what == "ultralytics":
        return Unusable(
            "is a checkpoint of Ultralytics, a whole detector", "give it as `pretrained=` or `model=`, not as weights"
        )
    return Unusable(
        f"holds Python objects besides tensors{f' ({what})' if what else ''}, which are not loaded for safety",
        "save the network's state_dict() alone",
    )
