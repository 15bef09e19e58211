"""Files from the Hugging Face hub and from addresses: from their caches, or downloaded into them.

Only files that can be read are returned. A cached file that is proven to be damaged is renamed and fetched again, if it
lies in the cache itself. Nothing else in a cache is touched: not what a link leads to, and not a file that cannot be
read for another reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER

from .. import leftovers
from . import integrity
from .download import download
from .library_log import captured
from .read import Unusable, contents

_HUB_FILES = "model.safetensors", "pytorch_model.bin"  # timm's order
_STORAGE_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}

# In all of these, `full` is the name with its tag, for messages.


@dataclass(frozen=True)
class Fetched:
    """A file of weights that was found or downloaded.

    Attributes:
        full: the name of what it was fetched for, with its tag.
        path: the file, in a cache.
        cache: the cache's folder.
        origin: where it comes from.
        contents: what it holds, where that is of use to the caller: not of the hub's, which timm reads by itself.
        fresh: True if it was downloaded just now.
    """

    full: str
    path: Path
    cache: Path
    origin: str
    contents: Any
    fresh: bool

    def refusal(self, reason: str) -> ValueError:
        """Return the error to raise if the file holds other weights than expected; a fresh file is not kept."""
        if not self.fresh:
            leftovers.remove(integrity.record_of(self.path))  # else the right file would be taken for a changed one
            return ValueError(f"{self.full}: {self.path} {reason}; delete it, or {_way_out(self.full)}")
        _discard(self.path, self.cache)
        return _unusable(self.full, self.origin, reason)


def from_hub(full: str, hub_id: str) -> Fetched:
    """Get a file of a repository on the Hugging Face hub.

    Raises:
        ValueError: it cannot be used.
        ConnectionError: it cannot be downloaded.
        OSError: it cannot be read or kept.
        MemoryError: there is too little memory for it.
    """
    import huggingface_hub as hub  # slow
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    repo, _, revision = hub_id.partition("@")
    where = f"{repo} on the Hugging Face hub"
    cache = Path(hub.constants.HF_HUB_CACHE)
    for file in _HUB_FILES:
        cached = hub.try_to_load_from_cache(repo, file, revision=revision or None)
        if isinstance(cached, str):
            found = _read_cached(full, Path(cached), cache, lambda path: integrity.changed(path.resolve()))
            if found is not None:
                return Fetched(full, Path(cached), cache, where, None, fresh=False)
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
            storage = _storage_error(error)
            if storage is not None:
                raise _not_kept(full, cache, storage, "HF_HOME") from None
            raise _download_error(full, where, error) from None
        try:
            reason = integrity.changed(path.resolve())
            if reason is not None:
                raise Unusable(reason)
            with _readable(full, path):
                contents(path)
        except Unusable as error:
            _discard(path, cache)
            raise _unusable(full, where, error.reason) from None
        return Fetched(full, path, cache, where, None, fresh=True)
    raise ValueError(f"{full}: {where} has neither {' nor '.join(_HUB_FILES)}; {_way_out(full)}")


def from_url(full: str, url: str, file: str) -> Fetched:
    """Get a file from torch.hub's cache, or from its address.

    Raises:
        ValueError: it cannot be used, or is another than the one published or first fetched.
        ConnectionError: it cannot be downloaded.
        OSError: it cannot be read or kept.
        MemoryError: there is too little memory for it.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    target = cache / file
    if target.is_file():
        found = _read_cached(full, target, cache, lambda path: integrity.mismatch(path, integrity.sha256(path)))
        if found is not None:
            if integrity.unknown(target):
                integrity.record(target, integrity.sha256(target))
            return Fetched(full, target, cache, url, found, fresh=False)
    part = leftovers.unfinished(target)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        leftovers.sweep(target)
        digest = download(url, part, file)
        reason = integrity.mismatch(target, digest)
        if reason is not None:
            raise Unusable(reason)
        found = contents(part)
        integrity.record(target, digest)
        os.replace(part, target)
    except Unusable as error:
        raise _unusable(full, url, error.reason) from None
    except ConnectionError as error:
        raise _download_error(full, url, error) from None
    except OSError as error:
        raise _not_kept(full, cache, error, "TORCH_HOME") from None
    except MemoryError:
        raise MemoryError(f"{full}: there is too little memory for what came from {url}") from None
    finally:
        leftovers.remove(part)
    return Fetched(full, target, cache, url, found, fresh=True)


def _read_cached(full: str, path: Path, cache: Path, changed: Callable[[Path], str | None]) -> Any:
    """Read a cached file, or return None if it was damaged and is set aside, by this process or just now by another.

    `changed` finds out whether the file is another than the one that was published or first fetched.
    """
    try:
        with _readable(full, path):
            before = path.stat()
            try:
                found = contents(path)
            except Unusable as error:
                reason = error.reason if error.damaged else changed(path)
                if reason is None:
                    raise ValueError(f"{full}: {path} {error.reason}; delete it, or {_way_out(full)}") from None
            else:
                reason = changed(path)
                if reason is None:
                    return found
    except FileNotFoundError:
        return None
    aside = _set_aside(path, cache, before)
    if aside is None:
        what = f"is a link to {path.resolve()}, which" if path.is_symlink() else "cannot be renamed, and"
        raise ValueError(f"{full}: {path} {what} {reason}; put the right file there, or {_way_out(full)}")
    LOGGER.warning(f"yolo_backbones: {full}: {path} {reason}; it is now {aside.name}, and the file is fetched again")
    return None


@contextlib.contextmanager
def _readable(full: str, path: Path) -> Iterator[None]:
    """Have errors that say nothing about the file say which file could not be read, and that it stays."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{full}: {path} cannot be read now ({_cause(error)}), and is left as it is") from None
    except MemoryError:
        raise MemoryError(f"{full}: there is too little memory to read {path}, which is left as it is") from None


def _set_aside(path: Path, cache: Path, before: os.stat_result) -> Path | None:
    """Rename a damaged file that lies in the cache itself; return its new name, or None if that cannot be done."""
    real = path.resolve()
    if not real.is_relative_to(cache.resolve()):
        return None
    aside = real.with_name(f"{real.name}.damaged")
    try:
        now = real.stat()
        if (now.st_ino, now.st_mtime_ns, now.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size):
            os.replace(real, aside)  # else another process has put a new one there
        if path.is_symlink() and not path.exists():  # the hub's, to the blob that has been renamed
            path.unlink()
    except FileNotFoundError:  # another process was first
        return aside
    except OSError:
        return None
    return aside


def _discard(path: Path, cache: Path) -> None:
    """Delete what was downloaded just now, and cannot be used: in the hub's cache a link and its target."""
    real = path.resolve()
    if real.is_relative_to(cache.resolve()):
        leftovers.remove(path)
        leftovers.remove(real)
        leftovers.remove(integrity.record_of(path))


def _storage_error(error: BaseException | None) -> OSError | None:
    """Find the error of a full or read-only disk among the causes of an error."""
    while error is not None:
        # Of a file: it has a name; a connection that is forbidden has none.
        if isinstance(error, OSError) and (
            error.errno in _STORAGE_ERRORS or (isinstance(error, PermissionError) and error.filename)
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def _not_kept(full: str, cache: Path, error: OSError, variable: str) -> OSError:
    message = (
        f"{full}: its weights cannot be written to {cache} ({_cause(error)}); make room or set {variable} to another "
        f"folder, or {_way_out(full)}"
    )
    return OSError(message)


def _unusable(full: str, where: str, reason: str) -> ValueError:
    return ValueError(f"{full}: what came from {where} {reason}, and has not been kept; try again, or {_way_out(full)}")


def _download_error(full: str, where: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"{full}: its weights are in no cache and could not be downloaded from {where} ({_cause(error)}); do it once "
        f"where there is a network, or {_way_out(full)}"
    )


def _cause(error: Exception) -> str:
    """Return the first sentence of what an error says."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.split(r"[.]?\s*\n|[.]\s", said.strip())[0].rstrip(".") or type(error).__name__


def _way_out(full: str) -> str:
    return f"give a file, weights=path, or use the name without the tag, {full.partition('.')[0]}"
