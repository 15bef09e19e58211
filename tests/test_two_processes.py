"""Trainings in two processes, as for two GPUs: started by Ultralytics' launcher from the file that it generates."""

import sys
from pathlib import Path

import pytest
import torch
from conftest import run

from yolo_backbones import configs

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("two_processes.py")
FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})


@pytest.mark.parametrize("model", [*FAMILIES, "yolov8n-resnet18"])
def test_two_processes_learn_what_one_does(model, few_shapes, tmp_path):
    run([sys.executable, SCRIPT, f"{model}.yaml", few_shapes, tmp_path], tmp_path, {"OMP_NUM_THREADS": "1"})
    one, first, second = (torch.load(tmp_path / f"of{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert first["slopes"] == second["slopes"] == one["slopes"]
    # VanillaNet's; of three epochs, the first is deep training.
    assert one["slopes"] == ([[0], [1], [1]] if any(one["slopes"]) else [[], [], []])
    for found, expected in (
        (first["model"], one["model"]),
        (second["model"], one["model"]),
        (first["average"], one["average"]),
    ):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-5, atol=1e-5 * value.detach().abs().max().item(), msg=name
            )
