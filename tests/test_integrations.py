"""Tools of others, with packages of their own, on the package's models. docs/integrations.md tells what to type.

Where a tool's packages are missing, its tests are skipped; with `--integrations`, as `make integrations` runs them,
they fail.
"""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import C2f, Conv, Detect
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs, shapes

FAMILIES = sorted(stem.removeprefix("yolov8-") for stem in configs.models())
SIDE = 64
Needs = Callable[..., None]


@pytest.fixture
def needs(request: pytest.FixtureRequest) -> Needs:
    """Skips the test where packages are missing; fails it with `--integrations`."""

    def check(*packages: str) -> None:
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            stop = pytest.fail if request.config.getoption("integrations") else pytest.skip
            stop(f"{', '.join(missing)} not installed; `make integrations` installs what the tools need")

    return check


def options(folder: Path, data: Path) -> dict[str, Any]:
    return {
        "data": str(data), "epochs": 1, "imgsz": SIDE, "batch": 4, "workers": 0, "device": "cpu", "plots": False,
        "project": str(folder), "name": "run", "exist_ok": True, "verbose": False,
    }  # fmt: skip


def parameters(rows: nn.Module) -> int:
    return sum(parameter.numel() for parameter in rows.parameters())


# ---- Torch-Pruning ----


class SplitC2f(nn.Module):
    """C2f with its first convolution as two, as everybody prunes YOLOv8: Torch-Pruning loses its `chunk`."""

    def __init__(self, old: C2f) -> None:
        super().__init__()
        self.f, self.i, self.type = old.f, old.i, old.type
        halves = [Conv(old.cv1.conv.in_channels, old.c) for _ in range(2)]
        for half, part in zip(halves, (slice(None, old.c), slice(old.c, None))):
            half.conv.weight.data = old.cv1.conv.weight.data[part].clone()
        self.around, self.first = halves
        self.m, self.cv2 = old.m, old.cv2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.around(x), self.first(x)]
        for block in self.m:
            maps.append(block(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


def pruned(name: str) -> DetectionModel:
    """The usual script: every layer but the head's loses three of ten channels."""
    import torch_pruning

    torch.manual_seed(0)
    model = DetectionModel(name, nc=len(shapes.CLASSES), verbose=False)
    model.names = dict(enumerate(shapes.CLASSES))
    for i, row in enumerate(model.model):
        if type(row) is C2f:
            model.model[i] = SplitC2f(row)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        torch.rand(1, 3, SIDE, SIDE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        ignored_layers=[layer for layer in model.modules() if isinstance(layer, Detect)],
        pruning_ratio=0.3,
    )
    pruner.step()
    return model


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", [*FAMILIES, "fasternet_t0", "skresnet18", "lsknet_t"])
def test_a_pruned_model_is_trained_fused_saved_and_exported(name, needs, tmp_path, few_shapes):
    needs("torch_pruning", "onnx", "onnxslim", "onnxruntime")
    name = f"yolov8n-{name}.yaml"
    before = parameters(DetectionModel(name, verbose=False).model[:9])
    model = pruned(name)
    share = parameters(model.model[:9]) / before
    assert 0.4 < share < 0.62  # 0.7 of the channels in and out are 0.49 of a convolution's weights

    class Trainer(DetectionTrainer):
        def get_model(self, *args: Any, **kwargs: Any) -> nn.Module:
            return model

    trainer = Trainer(overrides={**options(tmp_path, few_shapes), "model": name})
    trainer.train()
    assert parameters(trainer.model.model[:9]) == parameters(model.model[:9])

    opened = YOLO(trainer.last)
    assert parameters(opened.model.model[:9]) == parameters(model.model[:9])
    image = torch.rand(1, 3, SIDE, SIDE)
    network = opened.model.float().eval()
    with torch.no_grad():
        expected = network(image)[0]
        exported = YOLO(opened.export(format="onnx", imgsz=SIDE, device="cpu", verbose=False), task="detect")
        exported.predict(image, imgsz=SIDE, device="cpu", verbose=False)
        network.fuse(verbose=False)
        scale = expected.abs().amax().item()
        torch.testing.assert_close(network(image)[0], expected, atol=1e-4 * scale, rtol=1e-3)
        found = exported.predictor.model(image)
    torch.testing.assert_close(found, expected, atol=1e-3 * scale, rtol=1e-3)


# ---- LightlyTrain ----


@pytest.mark.parametrize(
    "name",
    [*(f"yolov8n-{name}" for name in [*FAMILIES, "resnet18", "starnet_s1"]), "yolo11n-starnet", "yolo26n-resnet18"],
)
def test_a_backbone_is_pretrained_without_labels_and_fine_tuned(name, needs, tmp_path, few_shapes):
    needs("lightly_train")
    import lightly_train

    torch.manual_seed(0)
    model = YOLO(f"{name}.yaml")
    last = [row[2] for row in model.model.yaml["backbone"]][-1]
    trained = len(model.model.yaml["backbone"]) - (last == "SPPF")
    before = copy.deepcopy(model.model).half().float().state_dict()  # as a checkpoint has it
    lightly_train.pretrain(
        out=tmp_path / "pretrained", data=few_shapes.parent / "shapes" / "images" / "train", model=model,
        method="simclr", epochs=1, batch_size=4, num_workers=0, accelerator="cpu", precision="32-true",
        transform_args={"image_size": (SIDE, SIDE)},
    )  # fmt: skip
    file = tmp_path / "pretrained" / "exported_models" / "exported_last.pt"
    exported = YOLO(file).model.float().state_dict()
    learned = {key for key, value in exported.items() if value.is_floating_point() and not value.equal(before[key])}
    rows = {f"model.{i}." for i in range(trained)}
    weights = {key for key, value in model.model.named_parameters() if value.numel() and key.startswith(tuple(rows))}
    assert len(weights & learned) > 0.5 * len(weights)  # some begin behind factors of 0, or in front of a BatchNorm
    assert all(key.startswith(tuple(rows)) for key in learned)

    arrived = {}
    tuned = YOLO(file)
    tuned.add_callback("on_train_start", lambda trainer: arrived.update(copy.deepcopy(trainer.model.state_dict())))
    tuned.train(**options(tmp_path, few_shapes))
    assert learned <= arrived.keys()
    for key in learned:
        torch.testing.assert_close(arrived[key].float(), exported[key], atol=1e-3, rtol=1e-3)  # saved in half precision
