"""Hashes of weights: the published ones, and a record of the first fetch where none is published.

Publishers give a file's hash in its name, as torch.hub's convention has it (`resnet18-f37072fd.pth`: the first digits
of the SHA-256), or, on the Hugging Face hub, as the name of the cached blob (SHA-256, or git's SHA-1 for small files).
The record is a file beside the cached one, in the form of `sha256sum`: `vanillanet_5.pth.sha256`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from ..leftovers import unfinished

# At least eight digits: `IN22K-vit.g.16-600e.pth.tar` carries a number of epochs.
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z.]+$")
_BLOCK = 1 << 20  # bytes


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, as hexadecimal digits."""
    return _digest(path, hashlib.sha256())


def mismatch(target: Path, digest: str) -> str | None:
    """Compare the SHA-256 of what was fetched as `target` with its published or recorded one.

    Returns:
        The reason why it is another file; None if nothing speaks against it.
    """
    named = _IN_NAME.search(target.name)
    if named is not None:
        if digest.startswith(named[1]):
            return None
        return f"is not the file that was published: its SHA-256 begins with {digest[:8]}, not with {named[1][:8]}"
    known = recorded(target)
    if known is None or known == digest:
        return None
    return (
        f"is not the file that was first fetched (SHA-256 {digest[:8]}..., then {known[:8]}...); "
        f"if it has been replaced on purpose, delete {record_of(target)}"
    )


def unknown(target: Path) -> bool:
    """Tell whether neither the name of a file nor a record beside it has its hash."""
    return not _IN_NAME.search(target.name) and recorded(target) is None


def changed(blob: Path) -> str | None:
    """Compare a blob of the hub's cache with its name, which is its hash there.

    Returns:
        The reason why it is damaged; None if nothing speaks against it, or if the name is no hash.
    """
    name = blob.name
    if re.fullmatch("[0-9a-f]{64}", name):
        actual = sha256(blob)
    elif re.fullmatch("[0-9a-f]{40}", name):
        actual = _digest(blob, hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False))
    else:  # a cache without links, as on Windows
        return None
    return None if actual == name else f"is damaged: its hash begins with {actual[:8]}, not with {name[:8]}"


def record_of(target: Path) -> Path:
    """Return where a cached file's hash is recorded."""
    return target.with_name(f"{target.name}.sha256")


def recorded(target: Path) -> str | None:
    """Read the SHA-256 that a file had when it was first fetched; None if there is no record."""
    try:
        text = record_of(target).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.match(r"[0-9a-f]{64}\b", text)
    return found[0] if found else None


def record(target: Path, digest: str) -> None:
    """Write down the SHA-256 of a file that was fetched, unless its name has it or it is written down already."""
    if not unknown(target):
        return
    part = unfinished(record_of(target))
    with contextlib.suppress(OSError):  # a cache that cannot be written to; the file itself can be used
        part.write_text(f"{digest}  {target.name}\n", encoding="utf-8")
        os.replace(part, record_of(target))
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
