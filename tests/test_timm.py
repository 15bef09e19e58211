"""timm's networks as backbones: their own maps, at any size, and nothing in them that does not learn."""

import contextlib
import copy
import csv
import pickle
import re

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import ROOT, randomise_batch_norm
from torch import nn
from ultralytics.nn.modules import Conv, ConvTranspose
from ultralytics.utils.torch_utils import fuse_conv_and_bn, fuse_deconv_and_bn, initialize_weights

from yolo_backbones.backbones.timm.embeddings import resampled
from yolo_backbones.backbones.timm.features import TimmFeatures
from yolo_backbones.backbones.timm.maps import maps
from yolo_backbones.backbones.timm.plan import plan
from yolo_backbones.backbones.timm.traceable import Traceable
from yolo_backbones.layers.meta import Shapes
from yolo_backbones.layers.pyramid import PyramidLevel, SimpleFeaturePyramid, source

# One of each way that timm hands out maps, and of each way that a network falls short of strides 8, 16, 32 at any size.
SAMPLE = {
    "resnet18": "a list of layers",
    "swin_tiny_patch4_window7_224": "channels last, sizes on request",
    "efficientnet_lite0": "a class of its own",
    "mobilenetv3_small_050": "another",
    "hrnet_w18_small": "several resolutions at once",
    "xception41p": "hooks",
    "legacy_xception": "hooks in layers that are taken apart",
    "mobilenetv4_conv_small_035": "maps inside of stages",
    "inception_v3": "convolutions without padding",
    "densenet121": "activations that write over a map",
    "vit_tiny_patch16_224": "one map, sizes on request",
    "vit_tiny_r_s16_p8_224": "a transformer behind a convolutional network",
    "eva02_tiny_patch14_224": "a stride that is no power of two",
    "xcit_nano_12_p8_224": "one map at stride 8",
    "efficientvit_m0": "strides 16 to 64",
    "crossvit_9_240": "two resolutions of the image, one size alone",
    "pit_ti_224": "one size alone, hooks",
    "levit_128s": "weights that do not go with another size",
    "efficientvim_m1_dist": "weights that only a classifier needs, cut to another shape",
    "test_convnext": "the smallest",
}
# At 640 px, for strides 8, 16 and 32, these take seconds; for a classifier they are built for a smaller one.
ONE_SIZE = ["crossvit_9_240", "pit_ti_224"]
# What matters where networks are copied, traced and changed is how they hand out maps, and what they write over.
VARIED = [
    "resnet18", "efficientnet_lite0", "xception41p", "legacy_xception", "densenet121", "vit_tiny_patch16_224",
    "eva02_tiny_patch14_224", "levit_128s", "test_convnext",
]  # fmt: skip
MOST = 20.0  # GFLOPs; larger ones are deeper as well, and take longer to build
WANTED = (8, 16, 32)
RECTANGLE = (64, 96)


def table() -> dict[str, dict[str, str]]:
    with open(ROOT / "yolo_backbones" / "catalogue.csv", newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def one_of_each_file() -> list[str]:
    """The network of least GFLOPs from each file of timm, where that is a small one."""
    cheapest: dict[str, tuple[float, str]] = {}
    for name, row in table().items():
        if row["source"] == "timm" and row["gflops"] and timm.is_model(name):
            file = timm.model_entrypoint(name).__module__
            cheapest[file] = min(cheapest.get(file, (MOST, "")), (float(row["gflops"]), name))
    return sorted(name for _, name in cheapest.values() if name)


def test_the_table_has_every_architecture():
    rows = table()
    if timm.__version__ == "1.0.31":
        missing = set(timm.list_models()) - set(rows)
        assert not missing
        built = [row for name, row in rows.items() if timm.is_model(name) and row["device"]]
        assert len(built) == 1371
    assert len(rows) > 1371


def test_most_files_of_timm_are_sampled():
    assert len(one_of_each_file()) > 40


@pytest.mark.parametrize("name", one_of_each_file())
def test_the_table_tells_the_truth(name):
    with torch.device("meta"), Shapes():
        model = TimmFeatures(name, WANTED).eval()
        found = model(torch.empty(1, 3, 64, 96))
    assert [x.shape[1:] for x in found] == [(c, 64 // s, 96 // s) for c, s in zip(model.channels, WANTED)]
    row = table()[name]
    assert row["strides"] == " ".join(map(str, model.own_strides))
    assert row["channels"] == " ".join(map(str, model.own_channels))
    assert row["imgsz"] == str(model.imgsz or "")
    assert row["pyramid"] == ("yes" if len(list(model.pyramid.parameters())) else "no")
    assert row["parameters"] == str(sum(p.numel() for p in model.parameters()))


def weights(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = timm.create_model(name)
    randomise_batch_norm(network)
    return network.state_dict()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", SAMPLE)
def test_maps_equal_timm(name):
    state = weights(name)
    model = TimmFeatures(name, "last" if name in ONE_SIZE else WANTED, state=state).eval()
    indices = [m.index for m in maps(name) if m.stride in model.taken]
    overlay = {"state_dict": dict(state)}
    options = {"features_only": True, "out_indices": indices, "pretrained": True, "pretrained_cfg_overlay": overlay}
    reference = timm.create_model(name, **options).eval()
    image = torch.randn(1, 3, *RECTANGLE)
    with torch.no_grad():
        try:
            expected = reference(image)
        except (AssertionError, RuntimeError):  # timm itself builds this one for a single size
            image = torch.randn(timm.get_pretrained_cfg(name).input_size)[None]
            expected = reference(image)
        found = model.features(image)
    for ours, theirs in zip(found, expected, strict=True):
        if str(getattr(reference, "output_fmt", "")).endswith("NHWC"):
            theirs = theirs.permute(0, 3, 1, 2)
        assert relative_error(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", SAMPLE)
def test_every_parameter_learns(name):
    model = TimmFeatures(name, "last" if name in ONE_SIZE else WANTED).train()
    found = model(torch.randn(2, 3, *RECTANGLE))
    if name not in ONE_SIZE:
        assert [x.shape[1:] for x in found] == [(c, 64 // s, 96 // s) for c, s in zip(model.channels, WANTED)]
    sum(x.square().mean() for x in found).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    # Ultralytics freezes what has such a name.
    assert [name for name, _ in model.named_parameters() if re.search(r"(^|\.)model\.\d", name)] == []


@pytest.mark.parametrize("name", VARIED)
def test_copies_are_independent_and_equal(name):
    torch.manual_seed(0)
    model = TimmFeatures(name, WANTED).eval()
    image = torch.randn(1, 3, *RECTANGLE)
    with torch.no_grad():
        expected = model(image)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        traced = torch.jit.trace(model, image, strict=False, check_trace=False)
        for other in [*copies, traced]:
            for found, wanted in zip(other(image), expected, strict=True):
                assert relative_error(found, wanted) < 1e-5
        for parameter in model.parameters():
            parameter.zero_()
        for other in copies:
            assert all(torch.equal(found, wanted) for found, wanted in zip(other(image), expected, strict=True))


@pytest.mark.parametrize("name", VARIED)
def test_activations_made_in_place_by_ultralytics_change_no_map(name):
    torch.manual_seed(0)
    model = TimmFeatures(name, WANTED).eval()
    randomise_batch_norm(model)
    touched = copy.deepcopy(model)
    initialize_weights(touched)
    for ours, theirs in zip(touched.modules(), model.modules(), strict=True):
        if isinstance(ours, nn.BatchNorm2d):
            ours.eps = theirs.eps
    image = torch.randn(2, 3, *RECTANGLE)
    with torch.no_grad():
        for found, wanted in zip(touched(image), model(image), strict=True):
            assert relative_error(found, wanted) < 1e-5
    sum(x.square().mean() for x in touched.train()(image)).backward()


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "pit_ti_224"])
def test_finding_out_how_to_build_draws_no_random_numbers(name):
    built = []
    for _ in range(2):  # the second time, all is known
        torch.manual_seed(0)
        built.append(TimmFeatures(name, WANTED).state_dict())
    maps.cache_clear()
    plan.cache_clear()
    torch.manual_seed(0)
    built.append(TimmFeatures(name, WANTED).state_dict())
    for key, value in built[0].items():
        assert torch.equal(value, built[1][key]) and torch.equal(value, built[2][key])


@pytest.mark.parametrize(
    ("size", "name"), [((32, 32), "resnet18"), ((160, 96), "vit_tiny_patch16_224"), ((352, 32), "levit_128s")]
)
def test_any_multiple_of_32(size, name):
    model = TimmFeatures(name, (4, 8, 16, 32)).eval()
    with torch.no_grad():
        found = model(torch.randn(1, 3, *size))
    assert [tuple(x.shape[-2:]) for x in found] == [(size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]


def test_patches_of_14_pixels_make_a_grid_of_16():
    model = TimmFeatures("eva02_tiny_patch14_224", (16,)).eval()
    assert (model.own_strides, model.taken, model.imgsz) == ((14,), (16,), None)
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 96)
        found = model(image)[0]
        expected = model.features(F.interpolate(image, (56, 84), mode="bilinear"))[0]
    assert torch.equal(found, expected)


def test_the_deepest_map_and_none_behind_it():
    shallow, deep = TimmFeatures("resnet18", (8,)), TimmFeatures("resnet18", "last")
    assert (shallow.strides, shallow.channels) == ((8,), (128,))
    assert (deep.strides, deep.channels) == ((32,), (512,))
    assert sum(p.numel() for p in shallow.parameters()) < sum(p.numel() for p in deep.parameters()) / 10


@pytest.mark.parametrize("name", ["resnet18", "test_resnet", "hrnet_w18_small"])
def test_building_for_shapes_alone_leaves_out_nothing_more(name):
    """Additions in place are part of the network: a shortcut that ends in one is not idle."""
    plan.cache_clear()
    with torch.device("meta"), Shapes():
        shapes = TimmFeatures(name, WANTED)
    plan.cache_clear()
    with torch.device("meta"):
        real = TimmFeatures(name, WANTED)
    assert [key for key, _ in shapes.named_parameters()] == [key for key, _ in real.named_parameters()]


def test_a_classifier_runs_at_the_size_of_its_weights():
    assert TimmFeatures("pit_ti_224", "last").imgsz == 224
    assert TimmFeatures("pit_ti_224", WANTED).imgsz == 640


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(channels):
    state = weights("resnet18")
    state["conv1.weight"] = torch.randn(64, channels, 7, 7)
    model = TimmFeatures("resnet18", WANTED, channels, state)
    assert torch.equal(model.features.net.conv1.weight, state["conv1.weight"])
    assert model.left_out == ("fc.bias", "fc.weight")
    assert TimmFeatures("resnet18", WANTED, 3, state).missing == ("net.conv1.weight",)


def test_weights_of_another_network():
    state = weights("mobilenetv3_small_050")
    model = TimmFeatures("resnet18", WANTED, state=state)
    assert len(model.missing) == len(model.features.state_dict()) - 20  # BatchNorm's counters
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"):
        outcome: list[str] = []
        with contextlib.suppress(ValueError):  # where timm's filter looks for what is not there
            outcome = list(TimmFeatures(name, WANTED, state=weights("resnet18")).left_out)
        assert not outcome or len(outcome) == len(weights("resnet18"))


def test_an_unknown_architecture():
    with pytest.raises(ValueError, match=r"no architecture 'resnet19'; `timm.list_models\(\)`"):
        TimmFeatures("resnet19")


def test_position_embeddings_follow_the_size():
    state = weights("cait_xxs24_224")
    grid = torch.linspace(-1, 1, 14).expand(14, 14)
    state["pos_embed"] = grid.reshape(1, 196, 1).expand(1, 196, 192).clone()
    with torch.device("meta"), Shapes():
        assert TimmFeatures("cait_xxs24_224", WANTED).imgsz == 640
    found = resampled(state["pos_embed"], torch.Size((1, 1600, 192)))
    found = found.view(40, 40, 192)
    assert torch.allclose(found, found[:1, :, :1].expand_as(found), atol=1e-5)
    expected = (torch.arange(40) + 0.5) * 14 / 40 - 0.5
    assert torch.allclose(found[0, 8:-8, 0], (expected * 2 / 13 - 1)[8:-8], atol=1e-3)


def test_position_embeddings_of_other_forms():
    bicubic = {"mode": "bicubic", "antialias": True}
    planes = torch.randn(1, 5, 4, 6)
    assert torch.equal(resampled(planes, torch.Size((1, 5, 8, 9))), F.interpolate(planes, (8, 9), **bicubic))
    tokens = torch.randn(1, 1 + 16, 3)
    found = resampled(tokens, torch.Size((1, 1 + 64, 3)))
    grid = F.interpolate(tokens[:, 1:].mT.reshape(1, 3, 4, 4), (8, 8), **bicubic).flatten(2).mT
    assert torch.equal(found, torch.cat((tokens[:, :1], grid), 1))
    line = torch.randn(27, 8)
    assert torch.equal(
        resampled(line, torch.Size((79, 8))),
        F.interpolate(line.mT[None, :, None], (1, 79), **bicubic)[0, :, 0].mT,
    )
    for shape in [(1, 65, 4), (65, 3), (1, 17, 3)]:
        assert resampled(tokens, torch.Size(shape)) is None


@pytest.mark.parametrize(("old", "new"), [(14, 40), (37, 9), (5, 5), (7, 8)])
def test_resizing_as_a_product(old, new):
    x = torch.randn(2, 3, old, old + 2)
    with Traceable():
        found = F.interpolate(x, size=(new, new + 3), mode="bicubic", antialias=True)
        plain = F.interpolate(x, size=(new, new + 3), mode="bilinear")
    expected = F.interpolate(x, size=(new, new + 3), mode="bicubic", antialias=True)
    assert relative_error(found, expected) < 1e-5
    assert torch.equal(plain, F.interpolate(x, size=(new, new + 3), mode="bilinear"))


def test_repeating_as_an_expansion():
    x = torch.randn(2, 3, 4)
    with Traceable():
        found = [x.repeat_interleave(2, -1), x.repeat_interleave(3, 1)]
    assert torch.equal(found[0], x.repeat_interleave(2, -1)) and torch.equal(found[1], x.repeat_interleave(3, 1))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_onnx_has_the_same_maps(tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = TimmFeatures(name, WANTED).eval()
    image = torch.randn(1, 3, *RECTANGLE)
    torch.onnx.export(model, (image,), str(tmp_path / "x.onnx"), opset_version=17, dynamo=False, input_names=["image"])
    found = onnxruntime.InferenceSession(str(tmp_path / "x.onnx")).run(None, {"image": image.numpy()})
    with torch.no_grad():
        for ours, wanted in zip(found, model(image), strict=True):
            assert relative_error(torch.from_numpy(ours), wanted) < 1e-4


def test_sources_of_missing_maps():
    assert [source((16,), s) for s in (4, 8, 16, 32)] == [16] * 4
    assert [source((8, 16), s) for s in (4, 8, 16, 32)] == [8, 8, 16, 16]
    assert [source((8, 32), s) for s in (8, 16, 32)] == [8, 8, 32]  # the finer of two as near


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_pyramid_from_one_map(stride):
    pyramid = SimpleFeaturePyramid((stride,), (320,), (4, 8, 16, 32)).eval()
    found = pyramid([torch.randn(2, 320, 128 // stride, 192 // stride)])
    assert [tuple(x.shape) for x in found] == [(2, 256, 128 // s, 192 // s) for s in (4, 8, 16, 32)]
    assert pyramid.channels == (256,) * 4
    kinds = [[type(layer).__name__ for layer in level] for level in pyramid.levels]
    assert kinds[(4, 8, 16, 32).index(stride)] == ["ConvBN", "ConvBN"]
    assert kinds[(4, 8, 16, 32).index(stride) - 1] == ["ConvTranspose2d", "ConvBN", "ConvBN"]


def test_pyramid_passes_on_the_maps_that_are_there():
    pyramid = SimpleFeaturePyramid((8, 16), (96, 300), WANTED)
    given = [torch.randn(2, 96, 8, 8), torch.randn(2, 300, 4, 4)]
    found = pyramid(given)
    assert found[0] is given[0] and found[1] is given[1]
    assert tuple(found[2].shape) == (2, 256, 2, 2)
    assert pyramid.channels == (96, 300, 256)


def test_pyramid_folds():
    level = PyramidLevel(64, 32, 32, 8).eval()
    randomise_batch_norm(level)
    image = torch.randn(1, 64, 4, 4)
    with torch.no_grad():
        expected = level(image)
        folded = [fold(layer) for layer in level]
        assert not any(isinstance(m, nn.BatchNorm2d) for layer in folded for m in layer.modules())
        assert relative_error(nn.Sequential(*folded)(image), expected) < 1e-5


def fold(layer: nn.Module) -> nn.Module:
    """As Ultralytics' `model.fuse()` does to its own layers."""
    if isinstance(layer, ConvTranspose):
        layer.conv_transpose = fuse_deconv_and_bn(layer.conv_transpose, layer.bn)
        delattr(layer, "bn")
        layer.forward = layer.forward_fuse
    elif isinstance(layer, Conv):
        layer.conv = fuse_conv_and_bn(layer.conv, layer.bn)
        delattr(layer, "bn")
        layer.forward = layer.forward_fuse
    return layer


def test_timm_is_not_imported_on_the_meta_device(run_cli):
    """With it comes torch's compiler, which in torch 2.6 computes with tensors when it is imported."""
    looking = """
import sys
import torch
class Looking:
    def find_spec(self, name, *args):
        if name in {"timm", "torchvision", "torch._dynamo"}:
            seen[name] = torch.get_default_device().type
seen = {}
sys.meta_path.insert(0, Looking())
from ultralytics import YOLO
YOLO("yolov8n-resnet18.yaml")
assert set(seen) == {"timm", "torchvision", "torch._dynamo"} and set(seen.values()) == {"cpu"}, seen
"""
    run_cli(["python", "-c", looking])
