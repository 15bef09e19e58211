"""A server on this machine in place of the Hugging Face hub and of the releases' addresses, and empty caches."""

import dataclasses
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from yolo_backbones.families import families


class Server(ThreadingHTTPServer):
    """Loopback: the hub, and files by url. `files` holds what it serves, `breaks_off` what it cuts short."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks_off: set[str] = set()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def publish(self, repo: str, content: bytes, file: str = "model.safetensors") -> None:
        self.files[f"/{repo}/resolve/main/{file}"] = content


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            content = b""
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if self.path in self.server.breaks_off else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches of the hub and of torch.hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def point_at(caches, monkeypatch):
    """Sends the hub's client and the releases' addresses to another server; to a closed port until then."""

    def point(url: str) -> None:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        for name, family in families().items():
            if family.release is not None:
                urls = {network: f"{url}/ckpt/{Path(file).name}" for network, file in family.release.urls.items()}
                elsewhere = dataclasses.replace(family.release, urls=urls)
                monkeypatch.setitem(families(), name, dataclasses.replace(family, release=elsewhere))

    point("http://127.0.0.1:9")
    return point


@pytest.fixture
def online(point_at, server):
    point_at(server.url)
    return server
