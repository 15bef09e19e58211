"""What only a GPU shows: mixed precision, DistributedDataParallel over NCCL, half precision, TensorRT.

Skipped where there is none. `make gpu` runs it.
"""

import copy
import csv
import importlib.util
import math
import socket

import pytest
import torch
from conftest import backbone_maps, randomise_batch_norm
from torch import distributed, nn
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import WEIGHTS_DIR

from yolo_backbones import configs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})
MODELS = ["yolov8n", *FAMILIES, "yolov8n-resnet18"]


@pytest.fixture(scope="module", autouse=True)
def amp_check() -> None:
    """Ultralytics compares both precisions of a network that it would download; any detector will do."""
    if not (WEIGHTS_DIR / "yolo26n.pt").exists():
        WEIGHTS_DIR.mkdir(parents=True, exist_ok=True)
        YOLO("yolo26n.yaml").save(WEIGHTS_DIR / "yolo26n.pt")


@pytest.mark.parametrize("model", MODELS)
def test_trains_in_mixed_precision(model, few_shapes, tmp_path):
    options = {
        "model": f"{model}.yaml", "data": few_shapes, "epochs": 5, "imgsz": 96, "batch": 4, "device": 0, "workers": 0,
        "plots": False, "amp": True, "project": str(tmp_path), "name": "run",
    }  # fmt: skip
    trainer = DetectionTrainer(overrides=options)
    seen = []
    trainer.add_callback("on_train_batch_end", lambda trainer: seen.append(trainer.scaler.get_scale()))
    trainer.train()
    assert trainer.amp
    assert trainer.scaler.is_enabled()
    assert min(seen) >= 1  # halved with every overflow
    with open(tmp_path / "run" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    assert len(rows) == 5
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    best = YOLO(tmp_path / "run" / "weights" / "best.pt")
    assert all(bool(tensor.isfinite().all()) for tensor in best.model.state_dict().values())


@pytest.mark.parametrize("merged", [False, True], ids=["plain", "merged"])
@pytest.mark.parametrize("model", MODELS)
def test_half_precision_agrees(model, merged):
    torch.manual_seed(0)
    plain = DetectionModel(f"{model}.yaml", verbose=False).eval().cuda()
    randomise_batch_norm(plain)
    if merged:
        plain.fuse(verbose=False)
    image = torch.rand(2, 3, 160, 160, device="cuda")
    with torch.no_grad():
        expected = backbone_maps(plain, image)
        found = backbone_maps(copy.deepcopy(plain).half(), image.half())
    for ours, reference in zip(found, expected, strict=True):
        assert ((ours.float() - reference).abs().mean() / reference.abs().mean()).item() < 0.02


@pytest.fixture
def nccl():
    """A process group of this process alone, on the GPU's own backend."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    distributed.init_process_group("nccl", init_method=address, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("model", MODELS)
def test_gradients_pass_through_ddp_on_nccl(model, nccl):
    """With the options that Ultralytics' trainer gives it: every parameter is reduced, and none differently."""
    torch.manual_seed(0)
    alone = DetectionModel(f"{model}.yaml", verbose=False).cuda().train()
    alone.args = get_cfg()
    wrapped = nn.parallel.DistributedDataParallel(copy.deepcopy(alone), device_ids=[0], find_unused_parameters=True)
    batch = {
        "img": torch.rand(4, 3, 96, 96, device="cuda"),
        "batch_idx": torch.arange(4.0, device="cuda"),
        "cls": torch.ones(4, 1, device="cuda"),
        "bboxes": torch.full((4, 4), 0.4, device="cuda"),
    }
    for _ in range(2):  # the second step is where unused parameters and changed graphs are complained of
        for net in (alone, wrapped):
            net.zero_grad()
            net(dict(batch))[0].sum().backward()
    # Some gradients are 0 but for rounding, of a bias that a BatchNorm behind it subtracts again for one.
    noise = 1e-4 * max(p.grad.abs().max().item() for p in alone.parameters() if p.grad is not None)
    for (name, ours), expected in zip(wrapped.module.named_parameters(), alone.parameters(), strict=True):
        assert (ours.grad is None) == (expected.grad is None), name
        if ours.grad is not None:
            within = 1e-2 * expected.grad.abs().max().item() + noise
            torch.testing.assert_close(ours.grad, expected.grad, rtol=0, atol=within, msg=name)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
@pytest.mark.parametrize("model", FAMILIES)
def test_trains_on_two_gpus(model, few_shapes, tmp_path):
    YOLO(f"{model}.yaml").train(
        data=few_shapes, epochs=2, imgsz=96, batch=4, device="0,1", workers=0, plots=False, project=tmp_path, name="run"
    )
    assert (tmp_path / "run" / "weights" / "best.pt").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is None, reason="needs TensorRT, pip install tensorrt")
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("model", FAMILIES)
def test_tensorrt(model, half, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = YOLO(f"{model}.yaml")
    randomise_batch_norm(network.model)
    image = torch.rand(1, 3, 160, 160)
    expected = network.model.eval().cuda()(image.cuda())[0].cpu()
    engine = YOLO(network.export(format="engine", imgsz=160, half=half, device=0), task="detect")
    engine.predict(image, imgsz=160, device=0, verbose=False)
    found = engine.predictor.model(image.cuda())
    found = (found[0] if isinstance(found, list | tuple) else found).float().cpu()
    assert ((found - expected).abs().mean() / expected.abs().mean()).item() < (0.05 if half else 0.01)
