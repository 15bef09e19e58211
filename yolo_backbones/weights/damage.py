"""Damage that a file of weights shows without being loaded, and archives that would fill the memory.

That loading fails does not prove damage: memory may be short, or a library missing.
"""

from __future__ import annotations

import json
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any

TRUNCATED = "is truncated or damaged"
_PICKLES_OF_OLD_TORCH = 5  # magic number, protocol, system, contents, keys; then come the bare numbers
# Weights are hardly compressible, but for an untrained classifier of zeros.
FREE, _TIMES = 256 << 20, 16


def is_damaged(path: Path) -> bool:
    """Prove that a file of weights is truncated or damaged: by its lengths, its checksums, or the end of its pickle.

    Raises:
        OSError: it cannot be read at the moment.
    """
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return _damaged_safetensors(path)
    if head[:2] == b"PK":
        return _damaged_zip(path)
    return head[:1] == b"\x80" and _damaged_pickle(path)


def bomb(path: Path) -> str | None:
    """Find a zip archive that unpacks to far more than it holds; return the reason to refuse it.

    Raises:
        BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if too_large(unpacked, path):
        return f"would unpack {_bytes(path.stat().st_size)} to {_bytes(unpacked)}, as no weights do"
    return None


def too_large(size: int, path: Path) -> bool:
    """Tell whether `size` bytes cannot be what a file of weights holds."""
    return size > FREE + _TIMES * path.stat().st_size


def _damaged_safetensors(path: Path) -> bool:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            return True
        header = file.read(length)
    try:
        entries: dict[str, Any] = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        return True
    return 8 + length + max(ends, default=0) != size


def _damaged_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return True


def _damaged_pickle(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            for _ in range(_PICKLES_OF_OLD_TORCH):
                for _ in pickletools.genops(file):
                    pass
                if not file.peek(1):  # a pickle by itself, of another program
                    return False
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError):
        return True
    return False


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
