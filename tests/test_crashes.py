"""Trainings that are killed and resumed, checkpoints cut short, and releases that nobody has tried."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

from yolo_backbones import doctor, releases, seam

KILLS = int(os.environ.get("KILLS", "2"))  # `make crashes` has ten
EPOCHS = 5
MODEL = "yolov8n-vanillanet.yaml"  # its slope runs through a schedule
YOLO_COMMAND = Path(sys.executable).with_name("yolo")


def command(data: Path, folder: Path, **more) -> list[str]:
    options = {
        "model": MODEL, "data": data, "epochs": EPOCHS, "imgsz": 32, "batch": 4, "workers": 0, "device": "cpu",
        "plots": False, "project": folder, "name": "run", "exist_ok": True, "seed": 0, **more,
    }  # fmt: skip
    return [str(YOLO_COMMAND), "detect", "train", *(f"{key}={value}" for key, value in options.items())]


def rows(folder: Path) -> list[dict[str, str]]:
    file = folder / "run" / "results.csv"
    if not file.exists():
        return []
    with open(file, newline="") as lines:
        return [{key.strip(): value.strip() for key, value in row.items() if value} for row in csv.DictReader(lines)]


def schedule(folder: Path) -> dict[int, tuple[str, ...]]:
    """What was the same in each training: of each epoch the rates and the slope."""
    found = {}
    for row in rows(folder):
        keys = [key for key in row if key.startswith("lr/") or "slope" in key]
        found[int(row["epoch"])] = tuple(row[key] for key in keys)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_is_not(few_shapes, tmp_path):
    draw = random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(few_shapes, whole), check=True, capture_output=True)
    last = killed / "run" / "weights" / "last.pt"
    for _ in range(KILLS):
        resume = command(few_shapes, killed, resume=True) if last.exists() else command(few_shapes, killed)
        if last.exists():
            resume[3] = f"model={last}"
        process = subprocess.Popen(resume, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        before, deadline = len(rows(killed)), time.monotonic() + 600
        while len(rows(killed)) == before and process.poll() is None:  # an epoch of its own, or it never gets anywhere
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode in {0, -signal.SIGKILL}, said.decode()
        if process.returncode == 0:
            break
    else:
        done = subprocess.run(
            [str(YOLO_COMMAND), "detect", "train", f"model={last}", "resume=True"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert schedule(killed) == schedule(whole)
    assert sorted(schedule(killed)) == list(range(1, EPOCHS + 1))
    best = YOLO(last.with_name("best.pt"))
    best.predict(torch.rand(1, 3, 32, 32), verbose=False)
    assert best.model.model[0].__class__.__name__ == "VanillaStem"


@pytest.fixture(scope="module")
def unfinished(few_shapes, tmp_path_factory) -> Path:
    """The weights' folder of a training that was killed: its checkpoints still hold what it takes to go on."""
    folder = tmp_path_factory.mktemp("unfinished")
    process = subprocess.Popen(
        command(few_shapes, folder, epochs=200, save_period=1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    weights = folder / "run" / "weights"
    while not (weights / "epoch1.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    (weights / "last.pt").unlink(missing_ok=True)
    for spoiled in list(weights.glob("epoch*.pt"))[2:]:
        spoiled.unlink()
    return weights


@pytest.mark.parametrize("content", [b"", b"half"], ids=["empty", "truncated"])
def test_where_last_is_cut_short_the_newest_whole_one_is_taken(unfinished, content, caplog):
    best, last = unfinished / "best.pt", unfinished / "last.pt"
    last.write_bytes(best.read_bytes()[: best.stat().st_size // 2] if content else b"")
    os.utime(best)
    model = YOLO(last)
    assert "best.pt beside it is whole, of epoch" in caplog.text
    assert model.ckpt["optimizer"] is not None, "it can be resumed"

    whole = best.read_bytes()
    best.write_bytes(whole[:1000])
    caplog.clear()
    YOLO(last)
    assert "epoch" in caplog.text.split("beside it is whole")[0].rsplit(";", 1)[1]
    best.write_bytes(whole)


def test_resumed_from_what_was_found(unfinished):
    last = unfinished / "last.pt"
    last.write_bytes(b"")
    process = subprocess.Popen(
        [str(YOLO_COMMAND), "detect", "train", f"model={last}", "resume=True"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Resuming training" in line:
            break
    process.kill()
    process.wait()
    assert any("is taken instead" in line for line in lines), "".join(lines)
    assert "Resuming training" in lines[-1]


def test_another_file_that_is_cut_short_is_what_it_is(unfinished, tmp_path):
    """Only a `last.pt` has neighbours that are as good, and stock's is Ultralytics' affair."""
    (tmp_path / "best.pt").write_bytes((unfinished / "best.pt").read_bytes())
    (tmp_path / "mine.pt").write_bytes(b"")
    with pytest.raises((EOFError, RuntimeError, TypeError)):
        YOLO(tmp_path / "mine.pt")
    (tmp_path / "best.pt").unlink()
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises((EOFError, RuntimeError, TypeError)):
        YOLO(tmp_path / "last.pt")
    YOLO("yolov8n.yaml").save(tmp_path / "best.pt")
    with pytest.raises((EOFError, RuntimeError, TypeError)):
        YOLO(tmp_path / "last.pt")


# ---- releases ----


@pytest.mark.parametrize(
    ("version", "line", "known"),
    [
        (releases.NEWEST, False, True),
        ("8.4.0", False, True),
        ("8.2.0", False, True),
        (releases.NEWEST + "1", False, False),
        ("8.5.0", True, False),
        ("9.0.0.dev1+local", True, False),
        ("8.1.47", True, False),
    ],
)
def test_a_release_that_nobody_has_tried_is_said(monkeypatch, caplog, version, line, known):
    monkeypatch.setattr("ultralytics.__version__", version)
    monkeypatch.setattr(seam, "_told", set())
    monkeypatch.setattr(doctor.checks.metadata, "version", lambda name: version)
    seam.activate()
    seam.activate()
    assert caplog.text.count("tried") == (1 if line else 0)
    check = doctor.checks.package("ultralytics")
    assert ("tried" in check.value or "or later is needed" in check.advice) != known
