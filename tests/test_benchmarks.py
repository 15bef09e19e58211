"""What benchmarks count rather than time: bytes, and floating-point operations."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, script
from torch import nn

MAP = torch.zeros(1, 8, 32, 32)


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as `python benchmarks/...` has it


@pytest.mark.parametrize(
    ("call", "maps"),
    [
        (lambda: MAP + 1, 1),
        (lambda: (MAP + 1) * MAP, 2),
        (lambda: ((MAP + 1) * MAP + MAP) * MAP, 2),  # what is not needed any more makes room
        (lambda: torch.cat((MAP, MAP)), 2),
        (lambda: MAP.relu_(), 0),
    ],
)
def test_peak_memory_is_what_lives_at_once(call: Callable[[], object], maps: int) -> None:
    scalars = 1024
    peak = script("measure").peak_memory(call, torch.device("cpu"))
    assert maps * MAP.nbytes <= peak <= maps * MAP.nbytes + scalars


@torch.no_grad()
def test_a_convolution_is_counted_by_hand() -> None:
    conv = nn.Conv2d(8, 16, 3, padding=1, bias=False)
    with script("roofline").Operations() as operations:
        F.relu(conv(MAP)).view(-1)
    macs = 16 * 8 * 9 * 32 * 32
    bytes_moved = MAP.nbytes + conv.weight.nbytes + 2 * MAP.nbytes
    assert operations.costs == [(2 * macs, bytes_moved), (0, 4 * MAP.nbytes)]


def test_a_table_of_other_options_leaves_the_kept_one_alone(tmp_path: Path) -> None:
    measure = script("measure")
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)

    def chosen(*options: str) -> Path:
        return measure.folder(parser, parser.parse_args(options))

    assert chosen() == chosen("--device", "0") == measure.RESULTS
    assert chosen("--repeats", "2") != measure.RESULTS
    assert chosen("--out", str(tmp_path)) == tmp_path


def test_models_are_compared_at_the_letter_that_was_asked_for():
    models = script("models")
    assert {"yolov8.yaml", "yolo11.yaml", "yolo26.yaml", "yolov8-starnet.yaml"} < {*models.MODELS}
    assert models.scaled("yolov8-starnet.yaml", "m") == "yolov8m-starnet.yaml"
    assert models.scaled("yolo11.yaml", "x") == "yolo11x.yaml"
    assert models.scaled("my/yolov8.yaml", "s") == "my/yolov8s.yaml"
