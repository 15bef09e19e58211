"""What the families' blocks start from, in a whole model as Ultralytics builds it."""

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones.align.detectors import like
from yolo_backbones.families.fasternet import FasterBlock
from yolo_backbones.families.lsknet import LSKBlock
from yolo_backbones.families.sknet import SKUnit
from yolo_backbones.families.starnet import StarBlock, StarDown, StarStem
from yolo_backbones.families.vanillanet import VanillaBlock
from yolo_backbones.layers.initialisation import (
    at_full_size,
    relative_size,
    start_as_identity,
    start_quick,
    start_small,
)


def blocks(name, kind):
    torch.manual_seed(0)
    found = [module for module in DetectionModel(f"{name}.yaml", verbose=False).modules() if isinstance(module, kind)]
    assert found
    return found


def pointwise(block):
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]


def off_centre(conv):
    """Return the kernels' centres, and a copy of the weights without them."""
    weight = conv.weight.detach().clone()
    height, width = (side // 2 for side in conv.kernel_size)
    centres = weight[:, :, height, width].clone()
    weight[:, :, height, width] = 0
    return centres, weight


@pytest.mark.parametrize(
    ("name", "kind"),
    [("yolov8n-starnet", StarBlock), ("yolov8n-fasternet", FasterBlock), ("yolov8n-skconv", SKUnit)],
)
def test_a_branch_starts_small_beside_its_shortcut(name, kind):
    for block in blocks(name, kind):
        for conv in pointwise(block):
            assert conv.weight.std().item() == pytest.approx(0.02, rel=0.25)
            assert conv.bias is None or not conv.bias.any()


@pytest.mark.parametrize(
    ("name", "kind", "conv"),
    [
        ("yolov8n-starnet", StarBlock, lambda block: block.dwconv.conv),
        ("yolov8n-lsknet", LSKBlock, lambda block: block.dwconv),
        ("yolov8n-vanillanet", VanillaBlock, lambda block: block.act.series.conv),
    ],
)
def test_kernels_that_stand_in_a_chain_start_near_the_identity(name, kind, conv):
    for block in blocks(name, kind):
        centres, rest = off_centre(conv(block))
        assert centres.mean().item() == pytest.approx(1, abs=0.1)
        assert rest.abs().max() < 0.5


@pytest.mark.parametrize("kind", [StarStem, StarDown])
def test_stem_and_downsampling_start_at_a_quarter_of_torchs_size(kind):
    for layer in blocks("yolov8n-starnet", kind):
        assert relative_size(layer.conv.weight).item() == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("kind", [StarStem, StarDown])
def test_an_alignment_starts_at_torchs_size(kind):
    """The same weights otherwise, so one from before the quick start is repeated to the bit."""
    usual = blocks("yolov8n-starnet", kind)
    with at_full_size():
        full = blocks("yolov8n-starnet", kind)
    for one, other in zip(usual, full, strict=True):
        assert torch.equal(4 * one.conv.weight, other.conv.weight)
    teacher = DetectionModel("yolov8n.yaml", verbose=False)
    aligned = [module for module in like(teacher, "yolov8n-starnet.yaml").modules() if isinstance(module, kind)]
    for layer in aligned:
        assert relative_size(layer.conv.weight).item() == pytest.approx(1, rel=0.15)


def test_starts_are_set_and_not_trained():
    """They write to parameters that need gradients already, and leave no graph behind."""
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    for start in (start_small, start_as_identity, start_quick):
        start(conv)
        assert conv.weight.is_leaf
        assert conv.weight.requires_grad
