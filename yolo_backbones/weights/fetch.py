"""Files from the Hugging Face hub and from urls: from their caches, or downloaded into them.

Only files that can be read are returned. Others are removed from the cache.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER, TQDM

from .library_log import captured
from .read import Unusable, contents

_HUB_FILES = "model.safetensors", "pytorch_model.bin"  # timm's order
_TIMEOUT = 20  # seconds without a byte

# In all of these, `full` is the name with its tag, for messages.


def from_hub(full: str, hub_id: str) -> Path:
    """Return the file of a repository on the Hugging Face hub, from the hub's cache if it is there."""
    import huggingface_hub as hub  # slow
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    repo, _, revision = hub_id.partition("@")
    where = f"{repo} on the Hugging Face hub"
    for file in _HUB_FILES:
        cached = hub.try_to_load_from_cache(repo, file, revision=revision or None)
        if isinstance(cached, str) and _read_cached(full, Path(cached)) is not None:
            return Path(cached)
    for file in _HUB_FILES:
        try:
            with captured("huggingface_hub"):
                # Ask first whether it exists: without internet access the download itself would try for half a minute.
                hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, revision=revision or None))
                path = Path(hub.hf_hub_download(repo, file, revision=revision or None))
        except GatedRepoError:
            raise ValueError(
                f"{full}: https://huggingface.co/{repo} gives its files only to who accepts its terms; accept them "
                "there and run `hf auth login`"
            ) from None
        except Exception as error:  # which ones depends on the release of the hub's client and on what it uses for HTTP
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise _download_error(full, where, error) from None
        try:
            contents(path)
        except Unusable as error:
            raise discarded(full, path, where, error.reason) from None
        return path
    raise ValueError(f"{full}: {where} has neither {' nor '.join(_HUB_FILES)}; {_way_out(full)}")


def from_url(full: str, url: str, file: str) -> tuple[Path, Any]:
    """Return a file from torch.hub's cache, downloaded if it is not there, and its contents."""
    target = Path(torch.hub.get_dir()) / "checkpoints" / file
    if target.is_file() and (found := _read_cached(full, target)) is not None:
        return target, found
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{file}.{uuid.uuid4().hex}.part")  # of this process alone
    try:
        _download(url, part, file)
        found = contents(part)
        os.replace(part, target)
    except Unusable as error:
        raise discarded(full, part, url, error.reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise _download_error(full, url, error) from None
    finally:
        part.unlink(missing_ok=True)
    return target, found


def discarded(full: str, path: Path, where: str, reason: str) -> ValueError:
    """Remove a file that cannot be used, and return the error to raise."""
    _remove(path)
    return ValueError(f"{full}: what came from {where} {reason}, and has not been kept; try again, or {_way_out(full)}")


def _read_cached(full: str, path: Path) -> Any:
    """Read a cached file; if it cannot be read, remove it and return None."""
    try:
        return contents(path)
    except Unusable as error:
        _remove(path)
        LOGGER.warning(f"yolo_backbones: {full}: {path} {error.reason}; it has been removed and is fetched again")
        return None


def _remove(path: Path) -> None:
    """Remove a cached file: in the hub's cache, the link and its target."""
    blob = path.resolve()
    path.unlink(missing_ok=True)  # another process may have been first
    blob.unlink(missing_ok=True)


def _download(url: str, path: Path, title: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "yolo-backbones"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, open(path, "wb") as file:
        size = int(answer.headers.get("Content-Length") or 0)
        with TQDM(total=size or None, desc=title, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            while block := answer.read(1 << 20):
                file.write(block)
                bar.update(len(block))
        if file.tell() < size:
            raise ConnectionError(f"it broke off after {file.tell()} of {size} bytes")


def _download_error(full: str, where: str, error: Exception) -> ConnectionError:
    # Only the first sentence of the cause.
    cause = re.split(r"[.]?\s*\n|[.]\s", str(error).strip())[0].rstrip(".") or type(error).__name__
    return ConnectionError(
        f"{full}: its weights are in no cache and could not be downloaded from {where} ({cause}); do it once where "
        f"there is a network, or {_way_out(full)}"
    )


def _way_out(full: str) -> str:
    return f"give a file, weights=path, or use the name without the tag, {full.partition('.')[0]}"
