"""Hostile, damaged and unlucky files in caches and on the way there: the user's stay, and nothing bad is kept."""

import contextlib
import dataclasses
import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import psutil
import pytest
import timm
import torch
from conftest import randomise_batch_norm
from torch import nn

from yolo_backbones import leftovers, shapes
from yolo_backbones.backbones import find
from yolo_backbones.weights import download, integrity, read

NAME, TAG = "test_resnet", "r160_in1k"
REPO = f"timm/{NAME}.{TAG}"
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made = timm.create_model(NAME).eval()
    randomise_batch_norm(made)
    return made


@pytest.fixture(scope="module")
def good(network) -> bytes:
    return saved(network.state_dict())


@pytest.fixture
def by_url(online, caches, monkeypatch):
    """`by_url(file)` has timm know the weights by address alone, and returns the path there and the cached file."""
    registry = timm.models._registry._model_pretrained_cfgs
    original = registry[f"{NAME}.{TAG}"]

    def publish(file: str, content: bytes | None = None) -> tuple[str, Path]:
        cfg = dataclasses.replace(original, hf_hub_id=None, url=f"{online.url}/files/{file}")
        monkeypatch.setitem(registry, f"{NAME}.{TAG}", cfg)
        if content is not None:
            online.files[f"/files/{file}"] = content
        target = caches / "torch" / "hub" / "checkpoints" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        return f"/files/{file}", target

    return publish


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def load():
    return find(NAME).load(TAG)


def refused(kind: type[Exception], says: str) -> str:
    with pytest.raises(kind, match=says) as error:
        load()
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{NAME}.{TAG}: "), message
    return message


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what may be removed ----


@pytest.mark.parametrize("content", [b"", HTML, None], ids=["empty", "page", "a whole module"])
def test_what_a_link_in_the_cache_leads_to_is_the_users(by_url, tmp_path, good, content):
    _, target = by_url("resnet.pth", good)
    mine = tmp_path / "archive" / "my_only_copy.pth"
    mine.parent.mkdir()
    mine.write_bytes(saved({"model": nn.Sequential(nn.Conv2d(3, 8, 3))}) if content is None else content)
    before = mine.read_bytes()
    target.symlink_to(mine)
    refused(ValueError, f"{target}")
    assert mine.read_bytes() == before and target.is_symlink() and files_in(mine.parent) == ["my_only_copy.pth"]


def test_a_link_that_leads_nowhere_makes_room(by_url, tmp_path, good):
    _, target = by_url("resnet.pth", good)
    target.symlink_to(tmp_path / "gone.pth")
    load()
    assert target.read_bytes() == good and not (tmp_path / "gone.pth").exists()


def test_what_a_link_in_the_hubs_cache_leads_to_is_the_users(online, caches, tmp_path, good):
    online.publish(REPO, good, "pytorch_model.bin")
    load()
    (link,) = (caches / "hub").rglob("pytorch_model.bin")
    mine = tmp_path / "mine.bin"
    mine.write_bytes(good[:1000])
    link.unlink()
    link.symlink_to(mine)
    refused(ValueError, "is a link to .*mine.bin, which is truncated or damaged")
    assert mine.read_bytes() == good[:1000] and link.is_symlink()


@pytest.mark.parametrize("spoil", [lambda good: good[: len(good) // 2], lambda good: b"", lambda good: HTML])
def test_a_damaged_cached_file_is_renamed_and_fetched_again(by_url, good, spoil):
    _, target = by_url("resnet.pth", good)
    target.write_bytes(spoil(good))
    load()
    assert target.read_bytes() == good
    assert target.with_name("resnet.pth.damaged").read_bytes() == spoil(good)


def test_a_good_file_of_something_else_stays(by_url, online, good):
    """Fine-tuned weights of another network under that name are not damaged."""
    for content, says in (({"a": torch.zeros(3)}, "another network"), ({"loss": 0.5}, "cannot|no state dict|another")):
        path, target = by_url("resnet.pth", good)
        target.write_bytes(saved(content))
        assert "delete it" in refused(ValueError, says)
        assert target.read_bytes() == saved(content) and path not in online.asked
        target.write_bytes(good)  # the right one, put there by hand: nothing remembers the other
        load()
        assert target.read_bytes() == good and not list(target.parent.glob("*.damaged"))
        integrity.record_of(target).unlink()


ERRORS = {
    "too many open files": (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), OSError, "Too many open files"),
    "input/output": (OSError(errno.EIO, os.strerror(errno.EIO)), OSError, "Input/output error"),
    "memory": (MemoryError(), MemoryError, "too little memory"),
    "torch's memory": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError,
        "too little memory",
    ),
    "missing library": (ImportError("No module named 'zstd'"), ImportError, "zstd"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_that_is_not_the_files_removes_nothing(by_url, online, monkeypatch, good, kind):
    path, target = by_url("resnet.pth", good)
    target.write_bytes(good)
    error, raised, says = ERRORS[kind]

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(raised, match=says) as caught:
            load()
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == good and not list(target.parent.glob("*.damaged")) and path not in online.asked
    load()


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory")
def test_a_process_short_of_memory_keeps_the_cached_file(tmp_path):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    code = """
import resource, torch
from yolo_backbones.backbones import find
from yolo_backbones.families import family_of
torch.set_num_threads(1)
torch.save(family_of("vanillanet_5").variants["vanillanet_5"].build().state_dict(), "hub/checkpoints/vanillanet_5.pth")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20), resource.RLIM_INFINITY))
try:
    find("vanillanet_5").load("in1k")
except MemoryError as error:
    print(error)
"""
    env = {**os.environ, "TORCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "too little memory to read" in done.stdout, done.stdout + done.stderr
    assert (folder / "vanillanet_5.pth").stat().st_size > 50e6


# ---- hashes ----


def test_a_hash_in_the_name_is_held(by_url, online, good):
    digest = hashlib.sha256(good).hexdigest()
    _, target = by_url(f"resnet-{digest[:8]}.pth", good)
    load()
    assert files_in(target.parent) == [target.name], "the name has the hash; no record is needed"

    changed = saved({key: value + 1 for key, value in torch.load(target).items()})
    target.write_bytes(changed)
    load()
    assert target.read_bytes() == good and target.with_name(f"{target.name}.damaged").read_bytes() == changed

    path, target = by_url("resnet-0123abcd.pth", good)
    assert "begins with" in refused(ValueError, "is not the file that was published")
    assert not target.exists() and path in online.asked


def test_a_number_of_epochs_is_no_hash(by_url, good):
    """As in the names of I-JEPA's releases."""
    _, target = by_url("IN22K-vit.g.16-600e.pth.tar", good)
    load()
    assert integrity.recorded(target) == hashlib.sha256(good).hexdigest()


def test_without_a_published_hash_the_first_counts(by_url, online, good):
    path, target = by_url("resnet.pth", good)
    load()
    record = integrity.record_of(target)
    digest = hashlib.sha256(good).hexdigest()
    assert record.read_text() == f"{digest}  resnet.pth\n", "as `sha256sum -c` reads it"

    other = saved({key: value + 1 for key, value in torch.load(target).items()})
    target.write_bytes(other)  # in the cache
    load()
    assert target.read_bytes() == good

    target.unlink()
    online.files[path] = other  # where it is published
    assert str(record) in refused(ValueError, "not the file that was first fetched")
    assert not target.exists()
    record.unlink()
    load()
    assert target.read_bytes() == other


def test_a_file_that_was_there_before_is_recorded(by_url, good):
    _, target = by_url("resnet.pth")
    target.write_bytes(good)
    load()
    assert integrity.recorded(target) == hashlib.sha256(good).hexdigest()


@pytest.mark.parametrize("name", ["sha256", "git"])
def test_the_hubs_blobs_are_held_to_their_names(tmp_path, name):
    content = b"x" * 100
    digests = {"sha256": hashlib.sha256(content), "git": hashlib.sha1(b"blob 100\0" + content)}
    blob = tmp_path / digests[name].hexdigest()
    blob.write_bytes(content)
    assert integrity.changed(blob) is None
    blob.write_bytes(b"y" * 100)
    assert "damaged" in integrity.changed(blob)


def test_a_blob_that_was_changed_is_fetched_again(online, caches, network):
    import safetensors.torch

    good = safetensors.torch.save(network.state_dict())
    online.publish(REPO, good)
    load()
    (blob,) = (path for path in (caches / "hub").rglob("blobs/*") if path.is_file())
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # of the right length and form
    load()
    assert blob.read_bytes() == good


# ---- downloads ----


class Answers(BaseHTTPRequestHandler):
    """Answers as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.path.rpartition("/")[2].partition(".")[0]
        content = self.server.good
        places = {
            "to-http": "http://192.0.2.1/resnet.pth",
            "to-file": "file:///etc/passwd",
            "to-ftp": "ftp://127.0.0.1/resnet.pth",
            "in-circles": self.path,
            "to-itself": "/files/elsewhere.pth",
        }
        if kind in places:
            self.send_response(302)
            self.send_header("Location", places[kind])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        lengths = {"longer": len(content) + 10, "no-number": "abc", "huge": 1 << 50}
        if kind != "no-length":
            self.send_header("Content-Length", str(lengths.get(kind, len(content))))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if kind in {"no-length", "no-number"} else content)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def answers(by_url, good):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.good = good
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    registry = timm.models._registry._model_pretrained_cfgs

    def point(kind: str) -> Path:
        _, target = by_url(f"{kind}.pth")
        cfg = registry[f"{NAME}.{TAG}"]
        registry[f"{NAME}.{TAG}"] = dataclasses.replace(
            cfg, url=f"http://127.0.0.1:{server.server_port}/files/{kind}.pth"
        )
        return target

    yield point
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("to-http", ConnectionError, "redirected to http://192.0.2.1/resnet.pth, which is not https"),
        ("to-file", ConnectionError, "file:///etc/passwd"),
        ("to-ftp", ConnectionError, "redirected to ftp://.*, which is not https"),
        ("in-circles", ConnectionError, "redirect"),
        ("longer", ConnectionError, "broke off after"),
        ("huge", ConnectionError, "as no weights have"),
        ("no-length", ValueError, "truncated or damaged"),
        ("no-number", ValueError, "truncated or damaged"),
    ],
)
def test_a_download_that_is_not_as_announced(answers, kind, error, says):
    target = answers(kind)
    refused(error, says)
    assert files_in(target.parent) == []


@pytest.mark.parametrize("kind", ["plain", "to-itself"])
def test_a_download_that_is(answers, good, kind):
    target = answers(kind)
    load()
    assert target.read_bytes() == good


@pytest.mark.parametrize("url", ["http://example.com/a.pth", "file:///etc/passwd", "ftp://example.com/a", "a.pth", ""])
def test_nothing_but_https_is_asked(tmp_path, url):
    with pytest.raises(ConnectionError, match="which is not https"):
        download.download(url, tmp_path / "a.pth", "a.pth")


def test_a_redirection_from_elsewhere_to_this_machine_is_refused():
    with pytest.raises(ConnectionError, match=r"redirected to http://127\.0\.0\.1/"):
        download._check("http://127.0.0.1/", "redirected to ", "https://example.com/")


# ---- disks ----


def test_a_full_disk_is_called_that(by_url, monkeypatch, good):
    _, target = by_url("resnet.pth", good)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = refused(OSError, "No space left on device")
    assert "TORCH_HOME" in message and "network" not in message and files_in(target.parent) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size by a signal")
def test_a_write_that_ends_early_leaves_nothing(by_url, good):
    import resource
    import signal

    _, target = by_url("resnet.pth", good)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))
    try:
        refused(OSError, "cannot be written to")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert files_in(target.parent) == []
    load()


def test_a_cache_that_cannot_be_written_to(by_url, tmp_path, monkeypatch, good):
    by_url("resnet.pth", good)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    refused(OSError, "cannot be written to .*TORCH_HOME")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/cache"),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/cache"),
    ],
)
def test_the_hubs_full_or_read_only_cache_is_called_that(online, monkeypatch, good, error):
    online.publish(REPO, good, "pytorch_model.bin")

    def fail(*args, **kwargs):
        try:
            raise error
        except OSError as cause:
            raise RuntimeError("the client's own words") from cause

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert error.strerror in refused(OSError, "cannot be written to .*HF_HOME")


# ---- archives that would fill the memory ----


def zeros(path: Path, member: str, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("member", ["weight.npy", "archive/data/0"])
def test_a_zip_bomb_is_refused(tmp_path, member):
    path = zeros(tmp_path / "bomb.npz", member, 400 << 20)
    assert path.stat().st_size < 1 << 20
    before = psutil.Process().memory_info().rss
    with pytest.raises(read.Unusable, match=r"would unpack .* kB to 419 MB"):
        read.contents(path)
    assert psutil.Process().memory_info().rss - before < 100 << 20


def test_compressed_weights_are_no_bomb(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, head=np.zeros((1000, 1000), "f"), body=np.random.rand(100, 100).astype("f"))
    assert read.contents(path)["head"].shape == (1000, 1000)


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "large.pth")
    for content, says in (
        (torch.zeros(1).expand(1 << 40), "larger than its numbers"),
        (torch.zeros(3, 3).to_sparse(), "without plain numbers"),
        (torch.zeros(3, 3, device="meta"), "without plain numbers"),
    ):
        torch.save({"conv1.weight": content}, tmp_path / "odd.pth")
        with pytest.raises(ValueError, match=says):
            find(NAME).load(tmp_path / "odd.pth")


# ---- what dead processes leave ----


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_leftovers_of_the_dead_are_swept(tmp_path):
    target = tmp_path / "resnet.pth"
    own, dead = leftovers.unfinished(target), leftovers.unfinished(target)
    dead = dead.with_name(dead.name.replace(f"-{os.getpid()}-", f"-{dead_process()}-"))
    other = own.with_name(own.name.replace(f".{leftovers._HOST}-", ".another_host-"))
    old = other.with_name(other.name.replace(f"-{os.getpid()}-", "-1-"))
    stranger, longer = tmp_path / "film.part", dead.with_name(f"my_{dead.name}")
    for path in (own, dead, other, old, stranger, longer):
        path.write_text("")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    leftovers.sweep(target)
    assert {own, other, stranger, longer} == set(tmp_path.iterdir())


def test_a_killed_download_is_swept_by_the_next(by_url, good):
    _, target = by_url("resnet.pth", good)
    part = leftovers.unfinished(target)
    part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{dead_process()}-")).write_bytes(good[:100])
    load()
    assert files_in(target.parent) == ["resnet.pth", "resnet.pth.sha256"]


def test_a_killed_drawing_is_swept_by_the_next(tmp_path):
    code = "import sys; from yolo_backbones import shapes; shapes.draw(sys.argv[1], train=100000)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "set")])
    deadline = time.monotonic() + 300
    while not list(tmp_path.rglob("*.jpg")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(files_in(tmp_path)) == 1
    shapes.draw(tmp_path / "set", train=2, val=1, imgsz=64)
    assert files_in(tmp_path) == ["set"]


# ---- many at once ----


@pytest.mark.skipif(sys.platform == "win32", reason="starts its processes by fork")
def test_twenty_processes_at_once(online, by_url, tmp_path, good):
    """Each composes, draws the same set, and loads the same weights, which are in no cache yet."""
    path, target = by_url("resnet.pth", good)
    children = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                torch.set_num_threads(1)
                from yolo_backbones import compose

                shapes.draw(tmp_path / "set", train=4, val=1, imgsz=64)
                assert compose("yolov8n", NAME)["backbone"]
                assert find(NAME).load(TAG).state
                status = 0
            os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 20
    assert target.read_bytes() == good and 1 <= online.asked.count(path) <= 20
    assert files_in(target.parent) == ["resnet.pth", "resnet.pth.sha256"]
    assert files_in(tmp_path) == ["set", "torch"] and len(list((tmp_path / "set").rglob("*.jpg"))) == 5


# ---- the current folder ----

PLANTED = ("psutil", "matplotlib", "json", "typer", "statistics", "site", "runpy")


@pytest.mark.parametrize(
    "command",
    [["bench", "yolov8n.yaml", "--imgsz", "32", "--repeats", "1", "--backend", "torch"], ["doctor"]],
    ids=lambda command: command[0],
)
def test_nothing_is_imported_from_the_current_folder(run_cli, tmp_path, command):
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'RAN')!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        )
    run_cli(
        ["yolo-backbones", *command],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert not (tmp_path / "RAN").exists(), (tmp_path / "RAN").read_text()
