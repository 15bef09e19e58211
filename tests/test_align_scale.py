"""Weights in front of BatchNorm: found in any network, and made small without a change of what it gives."""

import copy

import pytest
import torch
from conftest import randomise_batch_norm
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs
from yolo_backbones.align import junction, scale

FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})
ROWS = (4, 6, 8)


def found_in(model: nn.Module, rows=ROWS) -> dict[str, str]:
    names = {module: name for name, module in model.named_modules()}
    layers = {layer.weight: name for name, layer in model.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    return {layers[found.weight]: names[found.norm] for found in scale.normalised(model, rows)}


def trained(name: str) -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", verbose=False)
    randomise_batch_norm(model)
    return model


class Rows(nn.Module):
    """The part of a detector that is looked at: one row, which gives one map."""

    def __init__(self, row: nn.Module, channels: int = 3) -> None:
        super().__init__()
        row.f, row.i = -1, 0
        self.model = nn.Sequential(row)
        self.yaml = {"channels": channels}


class Twice(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.how == "its map is read beside the norm":
            return self.norm(y) + y
        if self.how == "two norms read its map":
            return self.norm(y) + self.other(y)
        if self.how == "it is called twice":
            return self.norm(y) + self.conv(x + 1)
        if self.how == "its norm is called twice":
            return self.norm(y) + self.norm(x)
        if self.how == "something is in between":
            return self.norm(y.relu())
        return self.norm(y)


def test_all_of_stock_and_of_vanillanet():
    for name in ("yolov8n", "yolov8n-vanillanet"):
        model = DetectionModel(f"{name}.yaml", verbose=False)
        convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and int(n.split(".")[1]) <= ROWS[-1]]
        assert sorted(found_in(model)) == sorted(convs)


def test_starnets_without_those_of_the_star():
    block = {name: norm for name, norm in found_in(trained("yolov8n-starnet")).items() if "4.blocks.0" in name}
    assert block == {
        "model.4.blocks.0.dwconv.conv": "model.4.blocks.0.dwconv.bn",
        "model.4.blocks.0.g.conv": "model.4.blocks.0.g.bn",
    }


@pytest.mark.parametrize(("name", "count"), [("resnet18", 20), ("convnext_atto", 0)])
def test_published_networks(name, count):
    model = DetectionModel(f"yolov8n-{name}.yaml", verbose=False)
    assert len(found_in(model)) == count


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ("its norm alone reads its map", 1),
        ("its map is read beside the norm", 0),
        ("two norms read its map", 0),
        ("it is called twice", 0),
        ("its norm is called twice", 0),
        ("something is in between", 0),
    ],
)
def test_a_size_counts_where_anything_else_reads_it(how, count):
    assert len(found_in(Rows(Twice(how)), rows=(0,))) == count


def test_nothing_of_what_is_frozen_or_without_weights():
    model = trained("yolov8n-starnet")
    for parameter in model.model[:3].parameters():
        parameter.requires_grad = False
    assert min(int(name.split(".")[1]) for name in found_in(model)) == 3
    plain = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3, affine=False))
    assert found_in(Rows(plain), rows=(0,)) == {}


def test_looking_changes_nothing():
    model = trained("yolov8n-skconv").train()
    before = copy.deepcopy(model.state_dict())
    scale.normalised(model, ROWS)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("training", [False, True], ids=["its own statistics", "the batch's"])
@pytest.mark.parametrize("name", [*FAMILIES, "yolov8n", "yolov8n-resnet18", "yolov8n-mobilenetv4_conv_small_035"])
def test_shrinking_changes_no_map(name, training):
    model = trained(name)
    image = torch.rand(4, 3, 128, 128)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(image)  # which gives the statistics of the image
    rows = ROWS if "mobilenet" not in name and "resnet" not in name else (len(model.yaml["backbone"]) - 2,)
    small = copy.deepcopy(model)
    scale.shrink(small, rows, 0.25)
    for network in (model, small):
        network.train(training)
    with torch.no_grad():
        for ours, theirs in zip(junction.maps(small, image, rows), junction.maps(model, image, rows)):
            missed = ((ours - theirs).square().mean() / theirs.var()).item()
            # In training a batch's variance is not quite the one for which eps, now a larger share of it, was made up.
            assert missed < (2e-3 if training else 1e-8), missed
    sizes = [(f.weight.square().mean() * 3 * f.weight[0].numel()).sqrt() for f in scale.normalised(small, rows)]
    torch.testing.assert_close(torch.stack(sizes), torch.full((len(sizes),), 0.25))


def test_shrinking_what_gives_nothing():
    """A channel that is the same everywhere, and a convolution of zeros."""
    row = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    with torch.no_grad():
        row[0].weight[1] = 0.0
        row[1].running_var[1] = 0.0
        row[2].weight.zero_()
    small = copy.deepcopy(Rows(row)).eval()
    scale.shrink(small, (0,), 0.25)
    assert all(value.isfinite().all() for value in small.state_dict().values())
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(small.model(image), Rows(row).eval().model(image))


def test_a_tutorials_convolution_with_a_bias():
    row = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    nn.init.normal_(row[1].running_mean)
    small = copy.deepcopy(Rows(row, channels=1)).eval()
    scale.shrink(small, (0,), 0.25)
    assert not torch.allclose(small.model[0][0].bias, row[0].bias)
    image = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(small.model(image), Rows(row).eval().model(image))
