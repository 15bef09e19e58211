"""Any backbone in any detector: what a composed model has to hold to, over pairs of both."""

import copy
import gc
import json
import sys
from collections.abc import Iterator

import onnxruntime
import pytest
import torch
from conftest import randomise_batch_norm, run
from torch import nn
from torchvision.ops import StochasticDepth
from ultralytics import RTDETR, YOLO

from yolo_backbones import detectors, names
from yolo_backbones.backbones import is_backbone
from yolo_backbones.composition import families, levels

SMALL = "starnet_s050"
# The architectures of timm that the contract is tried on: one of each way in which maps come about.
TIMM = {
    "resnet18": "a plain list of stages",
    "mobilenetv4_conv_small_035": "inverted residuals",
    "convnext_atto": "LayerNorm in place of BatchNorm",
    "efficientvit_b0": "stages in a getter",
    "swin_tiny_patch4_window7_224": "channels last, windows",
    "vit_tiny_patch16_224": "one map at stride 16",
    "levit_128s": "no map at stride 8",
}
TASKS = ("", "-seg", "-pose", "-obb", "-cls")
SERVED = [name for name in detectors.configs() if name != "yolo11-cls-resnet18"]
FIXED = "vanillanet_13_x1_5_ada_pool"  # pools every image to one size, and has a test of its own
# Of the papers' networks those that differ by more than depth and width; test_variants.py has them all.
OWN = [
    "starnet_s050", "starnet_s1", "fasternet_t0", "fasternet_s", "lsknet_t", "vanillanet_5", "vanillanet_6",
    "sknet_26", "skresnet18", "skresnext50_32x4d",
]  # fmt: skip


def pairs() -> Iterator[str]:
    yield from (f"{names.join(base, SMALL)}.yaml" for base in SERVED)
    for backbone in [*families(), *OWN, *TIMM]:
        for task in TASKS if backbone in {"starnet", "fasternet", "vanillanet", "skconv", "resnet18"} else TASKS[:1]:
            if f"yolov8-{backbone}{task}" not in {f"yolov8-{family}" for family in families()}:
                yield f"yolov8n-{backbone}{task}.yaml"


PAIRS = sorted(set(pairs()))
GROUPS = 8  # checkpoints are tried in as many fresh processes


class Pair:
    """A composed model, untrained, and the base that it comes from."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.name = name
        self.yolo = build(name)
        self.model = self.yolo.model
        # A mistake in folding would not show in fresh statistics.
        randomise_batch_norm(self.model)
        for module in self.model.modules():
            if isinstance(module, StochasticDepth):
                module.p = 0.0  # else it may drop a branch for all images of a small batch
        with torch.no_grad():  # a branch that starts at zero lets no gradient through to what is in front
            for parameter in self.model.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)
        self.base = detectors.find(base_of(name))
        self.side = 128 if int(max(self.model.stride)) == 64 else 96


def build(name: str) -> YOLO:
    return (RTDETR if "rtdetr" in name else YOLO)(name)


# All tests of a pair in one worker, which builds it once.
@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PAIRS])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield Pair(request.param)
    gc.collect()  # an export leaves circles, gigabytes of them before Python looks by itself


def base_of(name: str) -> str:
    stem = name.removesuffix(".yaml")
    return next(
        base for base, token in names.readings(stem) if detectors.known(base) and is_backbone(names.split_tag(token)[0])
    )


def tensors(outputs: object) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, dict):
        outputs = outputs.values()
    return [t for part in outputs or () for t in tensors(part)] if not isinstance(outputs, (int, float)) else []


def without_gradient(model: nn.Module, side: int) -> set[str]:
    """Parameters that a training step on two images leaves without a gradient."""
    model = copy.deepcopy(model).train()
    outputs = tensors(model(torch.rand(2, 3, 2 * side, side)))
    sum((y * torch.randn_like(y)).sum() for y in outputs if y.requires_grad).backward()
    return {key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}


def test_the_head_is_the_bases_row_for_row(pair):
    config, stock = pair.model.yaml, pair.base.config
    behind = pair.base.last + 1
    assert config["head"] == stock["head"]
    assert len(config["backbone"]) == len(stock["backbone"])
    assert config["backbone"][behind:] == stock["backbone"][behind:]
    replaced = {"backbone", "head", "scales"}
    assert {k: v for k, v in config.items() if k in stock.keys() - replaced} == {
        k: v for k, v in stock.items() if k not in replaced
    }
    assert (config.get("scales") or {}).items() <= (stock.get("scales") or {}).items()
    rows = (stock["backbone"] + stock["head"])[behind:]
    for (_, n, name, _), layer in zip(rows, pair.model.model[behind:], strict=True):
        assert type(layer[0] if type(layer) is nn.Sequential else layer).__name__ == name.rpartition(".")[2], n


def test_maps_leave_at_the_bases_rows_and_strides(pair):
    seen = {}
    model = copy.deepcopy(pair.model).eval()
    for stride, row in pair.base.taps.items():
        model.model[row].register_forward_hook(
            lambda _, __, y, stride=stride: seen.update({stride: tuple(y.shape[2:])})
        )
    with torch.no_grad():
        model(torch.zeros(1, 3, 2 * pair.side, pair.side))
    assert seen == {stride: (2 * pair.side // stride, pair.side // stride) for stride in pair.base.taps}
    found = levels(model.yaml)
    assert all(
        found[row] in {stride, None if pair.base.classifies else stride} for stride, row in pair.base.taps.items()
    )


def test_every_parameter_gets_a_gradient(pair):
    without = without_gradient(pair.model, pair.side)
    backbone = tuple(f"model.{row}." for row in range(pair.base.last + 1))
    assert [key for key in without if key.startswith(backbone)] == []
    if without:  # heads hold layers for other losses than this one; as many as in Ultralytics' own
        assert without <= without_gradient(build(f"{base_of(pair.name)}.yaml").model, pair.side)


def test_fuses_and_exports_to_onnx_with_equal_outputs(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = torch.rand(1, 3, pair.side, pair.side)
    plain, fused = (copy.deepcopy(pair.model).eval() for _ in range(2))
    fused.fuse(verbose=False)
    for model in (plain, fused):
        model.model[-1].export, model.model[-1].format, model.model[-1].dynamic = True, "onnx", False
    with torch.no_grad():
        expected, folded = first(plain(image)), first(fused(image))
    file = copy.deepcopy(pair.yolo).export(format="onnx", imgsz=pair.side, simplify=False, verbose=False)
    session = onnxruntime.InferenceSession(file)
    exported = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
    if "rtdetr" in pair.name:  # its queries come in the order of their scores, which may be equal
        expected, folded, exported = (y[0].sort(0).values for y in (expected, folded, exported))
    if pair.yolo.task == "semantic":  # a class a pixel, and no score that could differ a little
        assert exported.shape == folded.shape == expected.shape
        assert (exported == folded).float().mean() > 0.99 and (folded == expected).float().mean() > 0.99
        return
    assert_equal(folded, expected)
    assert_equal(exported, folded)


def first(outputs: object) -> torch.Tensor:
    while not isinstance(outputs, torch.Tensor):
        outputs = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs[0]
    return outputs


def assert_equal(ours: torch.Tensor, reference: torch.Tensor) -> None:
    assert ours.shape == reference.shape
    assert ((ours - reference).abs().max() / reference.abs().max()).item() < 1e-3


@pytest.mark.slow  # the network is large
def test_what_pools_to_a_fixed_size_classifies():
    """Its export to ONNX fails in torch, which has no pooling to sizes that do not divide the image's."""
    model = build(f"yolov8n-{FIXED}-cls.yaml").model
    assert without_gradient(model, 96) == set()
    with torch.no_grad():
        probabilities = first(copy.deepcopy(model).eval().fuse(verbose=False)(torch.rand(1, 3, 96, 96)))
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))


FRESH = """
import json, sys, torch
from ultralytics import RTDETR, YOLO
for file, (side, total) in json.load(open(sys.argv[1])).items():
    model = (RTDETR if "rtdetr" in file else YOLO)(file).model.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        y = model(torch.rand(1, 3, side, side))
    while not isinstance(y, torch.Tensor):
        y = next(iter(y.values())) if isinstance(y, dict) else y[0]
    assert abs(y.double().abs().sum().item() - total) <= 1e-4 * total, (file, y.double().abs().sum().item(), total)
    print("same", file)
"""


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_checkpoint_opens_in_a_fresh_process(group, tmp_path):
    expected = {}
    for name in PAIRS[group::GROUPS]:
        pair = Pair(name)
        pair.model.eval()
        file = tmp_path / name.replace(".yaml", ".pt")
        torch.manual_seed(0)
        with torch.no_grad():
            y = tensors(pair.model(torch.rand(1, 3, pair.side, pair.side)))[0]
        torch.save({"model": pair.model, "train_args": {}}, file)
        expected[str(file)] = pair.side, y.double().abs().sum().item()
    listing = tmp_path / "expected.json"
    listing.write_text(json.dumps(expected))
    done = run([sys.executable, "-c", FRESH, listing], tmp_path)
    assert done.stdout.count("same ") == len(expected) > 0
