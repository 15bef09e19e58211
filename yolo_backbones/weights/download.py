"""Downloads by https: of the length that was announced, also through redirections, and hashed on the way."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ultralytics.utils import TQDM

_TIMEOUT = 20  # seconds without a byte
_LARGEST = 32 << 30  # bytes; the largest published weights have 24 GB
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}  # nobody listens in between


def download(url: str, path: Path, title: str) -> str:
    """Download a file, and return its SHA-256.

    Args:
        url: where it is.
        path: where it goes.
        title: of the progress bar.

    Raises:
        ConnectionError: it could not be had; the message is the cause.
        OSError: it could not be written.
    """
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for block in _blocks(url, title):
            file.write(block)
            digest.update(block)
        file.flush()
        os.fsync(file.fileno())  # the rename that follows must not outlive the contents
    return digest.hexdigest()


def _blocks(url: str, title: str) -> Iterator[bytes]:
    """Yield a file as it comes in. All errors are of the network."""
    _check(url, "", url)
    request = urllib.request.Request(url, headers={"User-Agent": "yolo-backbones", "Accept-Encoding": "identity"})
    try:
        with urllib.request.build_opener(_Redirections).open(request, timeout=_TIMEOUT) as answer:
            size = answer.length or 0
            if size > _LARGEST:
                raise ConnectionError(f"it has {size} bytes, as no weights have")
            with TQDM(total=size or None, desc=title, unit="B", unit_scale=True, unit_divisor=1024) as bar:
                done = 0
                while block := answer.read(1 << 20):
                    yield block
                    done += len(block)
                    bar.update(len(block))
                    if done > _LARGEST:
                        raise ConnectionError(f"it does not end after {done} bytes")
            if done < size:
                raise ConnectionError(f"it broke off after {done} of {size} bytes")
    except ConnectionError:
        raise
    except http.client.IncompleteRead as error:
        raise ConnectionError(f"it broke off after {len(error.partial)} bytes") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that is none
        raise ConnectionError(str(error) or type(error).__name__) from error


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check(newurl, "redirected to ", req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, how: str, first: str) -> None:
    """Refuse what anyone on the way could have changed. A server on this machine may speak http, to itself."""
    parts = urllib.parse.urlsplit(url)
    own = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not (own and urllib.parse.urlsplit(first).hostname in _LOOPBACK):
        raise ConnectionError(f"{how}{url}, which is not https")
