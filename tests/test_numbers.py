"""Precisions agree, mixed precision stays finite, and one seed gives one result, for every family."""

import copy
import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import backbone_maps, randomise_batch_norm
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs

FAMILIES = sorted({path.stem for path in configs.models().values()})
# Of a map's largest value: 8 bits of bfloat16 and 11 of half precision, through some forty layers.
WITHIN = {torch.bfloat16: 0.1, torch.float16: 0.02}


def built(stem: str) -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(f"{stem.replace('yolov8', 'yolov8n')}.yaml", verbose=False)


@pytest.mark.parametrize("dtype", WITHIN, ids=["bfloat16", "float16"])
@pytest.mark.parametrize("merged", [False, True], ids=["plain", "merged"])
@pytest.mark.parametrize("stem", FAMILIES)
def test_precisions_agree(stem, merged, dtype):
    """The mean over the map, of three networks: a single logit near 0 may decide a whole channel."""
    found = []
    for seed in range(3):
        model = built(stem).eval()
        torch.manual_seed(seed)
        randomise_batch_norm(model)
        if merged:
            model.fuse(verbose=False)
        image = torch.rand(1, 3, 96, 96)
        with torch.no_grad():
            expected = backbone_maps(model, image)
            lower = backbone_maps(copy.deepcopy(model).to(dtype), image.to(dtype))
        for ours, reference in zip(lower, expected, strict=True):
            assert ours.dtype is dtype
            found.append(((ours.float() - reference).abs().mean() / reference.abs().mean()).item())
    assert sorted(found)[len(found) // 2] < WITHIN[dtype]


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_hundred_steps_of_mixed_precision_stay_finite(stem):
    model = built(stem).train()
    model.args = get_cfg()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.2, 0.3]])
    losses = []
    for _ in range(100):
        batch = {
            "img": torch.rand(2, 3, 64, 64, generator=generator),
            "batch_idx": torch.tensor([0.0, 1.0]),
            "cls": torch.tensor([[1.0], [2.0]]),
            "bboxes": boxes,
        }
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch)[0].sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("stem", FAMILIES)
def test_one_seed_gives_one_result_bit_for_bit(stem, few_shapes, tmp_path):
    yolo = str(Path(sys.executable).with_name("yolo"))
    for run in ("first", "second"):
        options = {
            "model": f"{stem.replace('yolov8', 'yolov8n')}.yaml", "data": few_shapes, "epochs": 1, "imgsz": 64,
            "batch": 4, "workers": 0, "device": "cpu", "plots": False, "project": tmp_path, "name": run, "seed": 3,
        }  # fmt: skip
        command = [yolo, "detect", "train", *(f"{key}={value}" for key, value in options.items())]
        subprocess.run(command, check=True, capture_output=True)
    states, tables = [], []
    for run in ("first", "second"):
        checkpoint = torch.load(tmp_path / run / "weights" / "best.pt", weights_only=False)
        states.append((checkpoint.get("ema") or checkpoint["model"]).state_dict())
        with open(tmp_path / run / "results.csv", newline="") as file:
            tables.append([{k: v for k, v in row.items() if "time" not in k} for row in csv.DictReader(file)])
    assert tables[0] == tables[1]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
