"""`model.fuse()`: what it leaves, that outputs stay, and what is told of it."""

import copy
import re
from collections.abc import Iterable

import onnx
import pytest
import timm.utils
import torch
import torch.nn.functional as F
from conftest import backbone_maps, randomise_batch_norm
from timm.layers import BatchNormAct2d, StdConv2d
from timm.layers.conv2d_same import Conv2dSame
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

from yolo_backbones import catalogue, configs
from yolo_backbones.backbones.network import Network
from yolo_backbones.backbones.timm.plan import plan
from yolo_backbones.families import families
from yolo_backbones.families.sknet import SKConv
from yolo_backbones.layers.fold import fold_batch_norms
from yolo_backbones.layers.merge import Mergeable

FIXED = "vanillanet_13_x1_5_ada_pool"  # pools every image to one size: no detector
DEEPER = re.compile(r"vanillanet_(9|1\d)")  # vanillanet_8 with its largest block repeated
OWN = [name for family in families().values() for name in family.variants if name != FIXED and not DEEPER.match(name)]
FAMILIES = sorted(stem.removeprefix("yolov8-") for stem in configs.models())
# Architectures of timm, and how many BatchNorms have something else than a convolution in front of them.
TIMM = {
    "resnet18": 0,
    "mobilenetv3_small_050": 0,
    "efficientnet_b0": 0,
    "tf_efficientnetv2_b0": 0,  # padding as TensorFlow has it
    "regnetx_002": 0,
    "hrnet_w18_small": 0,
    "convnext_atto": 0,
    "vit_tiny_patch16_224": 0,
    "levit_128s": 0,
    "efficientformerv2_s0": 0,
    "repvgg_a0": 0,
    "mobileone_s0": 0,
    "fastvit_t8": 0,
    "repvit_m0_9": 0,
    "ghostnetv2_100": 0,
    "densenet121": 62,
    "resnetv2_18": 8,
    "nf_regnet_b0": 0,  # weights that are standardised in each run
}
STANDARDISED = "nf_regnet_b0"  # no constant can be moved into its stem's weights
UNPADDED = ("fasternet", "vanillanet", "convnext", "vit_")  # stems whose kernel is their stride


def build(backbone: str) -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(f"yolov8n-{backbone}.yaml", verbose=False).eval()
    randomise_batch_norm(model)
    return model


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def assert_equal(ours: Iterable[torch.Tensor], reference: Iterable[torch.Tensor], within: float = 1e-4) -> None:
    for y, expected in zip(ours, reference, strict=True):
        assert y.shape == expected.shape
        assert (y.float() - expected).abs().max() < within * expected.abs().max()


def image_of(*shape: int) -> torch.Tensor:
    return torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", [*FAMILIES, *OWN, *TIMM])
def test_no_batch_norm_is_left_behind_a_convolution_and_maps_stay(backbone):
    model, image = build(backbone), image_of(96, 64)
    with torch.no_grad():
        expected = backbone_maps(model, image)
        model.fuse(verbose=False)
        assert_equal(backbone_maps(model, image), expected)
    assert len(norms(model)) == TIMM.get(backbone, 0)
    assert not any(module.training for module in model.modules())
    if isinstance(model.model[0], Network):
        assert (model.model[0].std is None) == (backbone != STANDARDISED)
        assert (model.model[0].mean is None) == backbone.startswith(UNPADDED)


@pytest.mark.parametrize("built_in_it", [False, True])
@pytest.mark.parametrize("backbone", [*FAMILIES, "skresnet18", "resnet18", "mobilenetv4_conv_small"])
def test_fuse_in_inference_mode(backbone, built_in_it):
    """`torch.inference_mode()` hides from a dispatcher what autograd would see, and its tensors allow no writing."""
    image = image_of(96, 64)
    plan.cache_clear()  # what the maps depend on is found once, perhaps in inference mode
    with torch.inference_mode(built_in_it):
        model = build(backbone)
    with torch.inference_mode():
        expected = [map.clone() for map in backbone_maps(model, image)]
        model.fuse(verbose=False)
        assert_equal(backbone_maps(model, image), expected)
    assert not norms(model)


@pytest.mark.parametrize("backbone", [*FAMILIES, "sk-plain", "resnet18"])
def test_fuse_while_autograd_looks(backbone, monkeypatch):
    """Ultralytics up to 8.3.180 folds outside of `no_grad`: the folded weight carries the graph that computed it."""

    def fold(conv, bn):
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        shift = bn.bias - bn.running_mean * scale
        options = {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups")}
        new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, **options).requires_grad_(False)
        new.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
        new.bias.copy_(shift if conv.bias is None else conv.bias * scale + shift)
        return new

    monkeypatch.setattr(tasks, "fuse_conv_and_bn", fold)
    if backbone == "sk-plain":
        config = tasks.yaml_model_load("yolov8n-skconv.yaml")
        config["backbone"][4] = [-1, 2, "SKStage", [256, 1, 2, 2, 16, 16, 0.5, "plain"]]
        model = DetectionModel(config, verbose=False).eval()
        randomise_batch_norm(model)
    else:
        model = build(backbone)
    image = image_of(96, 64)
    with torch.no_grad():
        expected = backbone_maps(model, image)
    with torch.enable_grad():
        model.fuse(verbose=False)
    with torch.no_grad():
        assert_equal(backbone_maps(model, image), expected)


SOME = [*FAMILIES, "fasternet_t0", "skresnet18", "resnet18", "mobileone_s0", "levit_128s", "repvit_m0_9"]


@pytest.mark.parametrize("backbone", SOME)
def test_a_second_fuse_changes_and_prints_nothing(backbone, monkeypatch):
    printed: list[str] = []
    monkeypatch.setattr(LOGGER, "info", printed.append)
    model = build(backbone)
    model.fuse()
    before = [(key, type(module)) for key, module in model.named_modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    said = len(printed)
    # timm's own merging does not promise to stand a second time.
    monkeypatch.delattr(timm.utils, "reparameterize_model")
    model.fuse()
    assert [(key, type(module)) for key, module in model.named_modules()] == before
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert len(printed) == said


@pytest.mark.parametrize("backbone", SOME)
def test_fusing_a_copy_leaves_the_original_and_copies_of_it_run(backbone):
    model, image = build(backbone), image_of(64, 64)
    with torch.no_grad():
        expected, left = backbone_maps(model, image), len(norms(model))
        fused = copy.deepcopy(copy.deepcopy(model).fuse(verbose=False))
        assert all(torch.equal(*pair) for pair in zip(backbone_maps(model, image), expected, strict=True))
        assert len(norms(model)) == left > len(norms(fused))
        assert_equal(backbone_maps(fused, image), expected)


@pytest.mark.parametrize("backbone", SOME)
def test_the_counts_that_are_printed_are_those_after_fusing(backbone, monkeypatch):
    printed: list[str] = []
    monkeypatch.setattr(LOGGER, "info", printed.append)
    model = build(backbone).fuse(verbose=True)
    summaries = [line for line in printed if "summary" in line]
    assert len(summaries) == 1, printed
    told = re.search(r"\(fused\): ([\d,]+) layers, ([\d,]+) parameters, ([\d,]+) gradients, ([\d.]+) G", summaries[0])
    assert told is not None, summaries[0]
    layers, parameters, gradients = (int(figure.replace(",", "")) for figure in told.groups()[:3])
    assert layers == sum(not list(module.children()) for module in model.modules())
    assert parameters == sum(p.numel() for p in model.parameters())
    assert gradients == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert float(told[4]) == pytest.approx(get_flops(model, 640), abs=0.06)


def test_fused_models_load_in_a_fresh_process(tmp_path, run_cli):
    image = image_of(64, 64)
    with torch.no_grad():
        for backbone in SOME:
            model = build(backbone).fuse(verbose=False)
            torch.save((model, image, model(image)[0]), tmp_path / f"{backbone}.pt")
    code = (
        "import pathlib, torch\n"
        "for file in sorted(pathlib.Path().glob('*.pt')):\n"
        "    model, image, expected = torch.load(file, weights_only=False)\n"
        "    with torch.no_grad():\n"
        "        y = model.fuse(verbose=False)(image)[0]\n"
        "    print(file.stem, (y - expected).abs().max().item() <= 1e-5 * expected.abs().max().item())\n"
    )
    told = run_cli(["python", "-c", code], cwd=tmp_path).stdout
    assert re.findall(r"^(\S+) (True|False)$", told, re.M) == [(backbone, "True") for backbone in sorted(SOME)]


# mobileone_s0's random branches add up to values that half precision does not have.
@pytest.mark.parametrize("backbone", [backbone for backbone in SOME if backbone != "mobileone_s0"])
def test_a_half_precision_model_fuses(backbone):
    model, image = build(backbone), image_of(64, 64)
    with torch.no_grad():
        expected = backbone_maps(model, image)
        model.half().fuse(verbose=False)
        assert {p.dtype for p in model.parameters()} == {torch.float16}
        for y, reference in zip(backbone_maps(model, image.half()), expected, strict=True):
            assert (y.float() - reference).norm() < 0.02 * reference.norm()


@pytest.mark.parametrize("backbone", ["starnet", "resnet18", "levit_128s"])
def test_fusing_in_training_folds_the_running_statistics_and_leaves_the_mode(backbone):
    model, image = build(backbone), image_of(64, 64)
    with torch.no_grad():
        expected = backbone_maps(model, image)
        model.train().fuse(verbose=False)
        assert all(module.training for module in model.modules())
        assert_equal(backbone_maps(model.eval(), image), expected)


def test_fake_quantised_models_are_not_merged(monkeypatch):
    monkeypatch.setattr(tasks, "is_qat", lambda model: True, raising=False)
    merged: list[Mergeable] = []
    monkeypatch.setattr(Network, "merge", lambda self: merged.append(self))
    build("resnet18").fuse(verbose=False)
    assert not merged
    monkeypatch.setattr(tasks, "is_qat", lambda model: False)
    build("resnet18").fuse(verbose=False)
    assert len(merged) == 1


class Plain(nn.Module):
    """A convolution, and the BatchNorm behind it."""

    def __init__(self, conv: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(4, 4, 3, padding=1)
        self.norm = norm or nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return self.norm(self.conv(x))


class Twice(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.conv(x)))


class NormTwice(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.norm(self.conv(x)))


class ReadTwice(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class Returned(Plain):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.conv(x)
        return [y, self.norm(y)]


class InPlace(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x).relu_())


class OtherBias(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.rand(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(F.conv2d(x, self.conv.weight, self.offset, padding=1))


class SharedWeight(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.conv.weight.mean()


FOLDED = {
    "plain": lambda: Plain(),
    "no bias": lambda: Plain(nn.Conv2d(4, 4, 3, bias=False)),
    "grouped": lambda: Plain(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)),
    "transposed": lambda: Plain(nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6)),
    "transposed, grouped": lambda: Plain(nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False), nn.BatchNorm2d(6)),
    "padded as in TensorFlow": lambda: Plain(Conv2dSame(4, 4, 3, 2)),
    "activated": lambda: Plain(norm=BatchNormAct2d(4, act_layer=nn.Tanh)),
    "dropped and activated": lambda: Plain(norm=BatchNormAct2d(4, act_layer=nn.Tanh, drop_layer=nn.Softsign)),
}
LEFT = {
    "called twice": lambda: Twice(),
    "norm called twice": lambda: NormTwice(),
    "read twice": lambda: ReadTwice(),
    "returned": lambda: Returned(),
    "changed in place": lambda: InPlace(),
    "another bias": lambda: OtherBias(),
    "weight read twice": lambda: SharedWeight(),
    "standardised weights": lambda: Plain(StdConv2d(4, 4, 3)),
    "no statistics": lambda: Plain(norm=nn.BatchNorm2d(4, track_running_stats=False)),
    "BatchNorm first": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)),
}


@pytest.mark.parametrize("case", [*FOLDED, *LEFT])
def test_batch_norm_is_folded_where_that_is_exact(case):
    torch.manual_seed(0)
    net = (FOLDED | LEFT)[case]().eval()
    for norm in norms(net):
        if norm.running_mean is not None:
            randomise_batch_norm(norm)
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        expected = net(x)
        fold_batch_norms(net, x)
        torch.testing.assert_close(net(x), expected)
    assert bool(norms(net)) == (case in LEFT)
    assert any(parameter.requires_grad for parameter in net.parameters()) == (case in LEFT)


@pytest.mark.parametrize("M", [1, 2, 3])
@pytest.mark.parametrize("form", ["dilated", "plain"])
def test_a_merged_selective_kernel_gives_the_same(form, M):
    torch.manual_seed(0)
    block, x = SKConv(16, 16, M=M, g=4, form=form).eval(), torch.randn(2, 16, 12, 20)
    randomise_batch_norm(block)
    with torch.no_grad():
        expected = block(x)
        block.merge()
        block.merge()
        torch.testing.assert_close(block(x), expected)
        torch.testing.assert_close(torch.jit.trace(block, x[:1])(x), expected)
    assert block.select.weight.shape[0] == (16 if M == 2 else 16 * M)


# What stock YOLOv8's backbone is made of, and what ours add for a purpose; no casts, no arithmetic on shapes.
OPERATIONS = {"Add", "Clip", "Concat", "Constant", "Conv", "Identity", "MaxPool", "Mul", "Relu", "Sigmoid", "Split"}
NORMALISATION = {"Sub"}


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize("backbone", [*FAMILIES, "starnet_s050", "skresnet18", "resnet18", "mobileone_s0"])
def test_exported_graphs_have_no_operations_to_spare(backbone, half, tmp_path):
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = build(backbone).fuse(verbose=False)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return backbone_maps(self.detector, x)

    net, image = Backbone().eval(), image_of(64, 64)
    if half:
        net, image = net.half(), image.half()
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    with torch.no_grad():
        torch.onnx.export(
            net, image, tmp_path / "net.onnx", input_names=["image"], dynamic_axes=axes, opset_version=17, dynamo=False
        )
    nodes = onnx.load(tmp_path / "net.onnx").graph.node
    used = {node.op_type for node in nodes}
    family = families().get(catalogue.entries()[backbone].family)  # also by another name of it
    assert used <= OPERATIONS | NORMALISATION | (family.operators if family else set()), used
    image_readers = [node.op_type for node in nodes if "image" in node.input]
    unpadded = backbone in FAMILIES or backbone.startswith(UNPADDED)
    assert image_readers == (["Conv"] if unpadded else ["Sub"])
