"""The shipped configs: YOLOv8's slots, stock's channels, stock's budget, stock's weights."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import randomise_batch_norm
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, parse_model, yaml_model_load
from ultralytics.utils import ROOT
from ultralytics.utils.torch_utils import get_flops

from yolo_backbones import configs
from yolo_backbones.families import families

STOCK = yaml.safe_load((ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text())
FAMILIES = sorted({path.stem for path in configs.models().values()})
SCALES = "nsmlx"
TAPS = (4, 6, 8)
FIGURE = re.compile(
    r"^  ([nsmlx]): .*# ([\d.]+)M parameters, ([\d.]+) GFLOPs; stock YOLOv8\1: ([\d.]+)M, ([\d.]+)$", re.M
)


def name(family: str, scale: str) -> str:
    return family.replace("yolov8", f"yolov8{scale}") + ".yaml"


def build(file: str) -> DetectionModel:
    return DetectionModel(file, verbose=False)


@pytest.fixture(scope="session")
def fused():
    """(parameters, GFLOPs at 640 px) of a fused model, by file name."""
    seen: dict[str, tuple[int, float]] = {}

    def figures(file: str) -> tuple[int, float]:
        if file not in seen:
            model = build(file).eval().fuse(verbose=False)
            seen[file] = sum(p.numel() for p in model.parameters()), get_flops(model, 640)
        return seen[file]

    return figures


def test_every_family_has_a_config_and_every_config_a_family():
    assert sorted(f"yolov8-{name}" for name in families()) == FAMILIES
    assert {"yolov8-fasternet", "yolov8-skconv", "yolov8-starnet", "yolov8-vanillanet"} <= {*FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_head_and_scales_are_stocks(family):
    config = yaml_model_load(f"{family}.yaml")
    assert config["head"] == STOCK["head"]
    assert config["scales"] == STOCK["scales"]
    assert len(config["backbone"]) == len(STOCK["backbone"])
    assert config["backbone"][9] == STOCK["backbone"][9]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("family", FAMILIES)
def test_budget_is_kept_and_written_down(family, scale, fused):
    parameters, gflops = fused(name(family, scale))
    stock_parameters, stock_gflops = fused(f"yolov8{scale}.yaml")
    assert parameters <= stock_parameters
    assert gflops <= stock_gflops
    written = {m[0]: m[1:] for m in FIGURE.findall(configs.models()[family].read_text())}
    figures = (parameters / 1e6, gflops, stock_parameters / 1e6, stock_gflops)
    assert written[scale] == tuple(f"{f:.{digits}f}" for f, digits in zip(figures, (2, 1, 2, 1)))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("family", FAMILIES)
def test_maps_have_stocks_channels_and_strides(family, scale):
    with torch.device("meta"):  # neither weights nor arithmetic are needed, and x is large
        ours, stock = (nn.Sequential(*build_rows(file)) for file in (name(family, scale), f"yolov8{scale}.yaml"))
        maps = []
        for model in (ours, stock):
            x, taps = torch.empty(1, 3, 64, 96), []
            for i, row in enumerate(model):
                x = row(x)
                if i in (*TAPS, 9):
                    taps.append(tuple(x.shape))
            maps.append(taps)
    assert maps[0] == maps[1]
    assert [64 // shape[2] for shape in maps[0]] == [8, 16, 32, 32]


def build_rows(file: str) -> list[nn.Module]:
    model, _ = parse_model(yaml_model_load(file), ch=3, verbose=False)
    return list(model)[:10]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("family", FAMILIES)
def test_neck_and_head_have_stocks_tensors(family, scale):
    shapes = []
    with torch.device("meta"):
        for file in (name(family, scale), f"yolov8{scale}.yaml"):
            state = parse_model(yaml_model_load(file), ch=3, verbose=False)[0].state_dict()
            shapes.append({key: value.shape for key, value in state.items() if int(key.split(".")[0]) >= 9})
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_strides_are_8_16_32(family):
    assert build(name(family, "n")).stride.tolist() == [8, 16, 32]


@pytest.mark.parametrize("scale", "ns")
@pytest.mark.parametrize("family", FAMILIES)
def test_neck_and_head_take_over_every_tensor_of_stocks(family, scale, tmp_path):
    stock = YOLO(f"yolov8{scale}.yaml")
    for p in stock.model.parameters():
        nn.init.normal_(p)
    stock.save(tmp_path / "stock.pt")
    ours = YOLO(name(family, scale)).load(tmp_path / "stock.pt").model.state_dict()
    theirs = YOLO(tmp_path / "stock.pt").model.state_dict()  # which the file holds in half precision
    outside = {key for key in theirs if int(key.split(".")[1]) >= 9}  # SPPF as well
    assert outside == {key for key in ours if int(key.split(".")[1]) >= 9}
    assert [key for key in outside if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_freeze_10_freezes_exactly_the_backbone(family):
    """As Ultralytics' trainer does it: by the text `model.{i}.` anywhere in a parameter's name."""
    frozen = [f"model.{i}." for i in range(10)]
    for key, _ in build(name(family, "n")).named_parameters():
        assert any(text in key for text in frozen) == (int(key.split(".")[1]) < 10), key


@pytest.mark.parametrize("family", FAMILIES)
def test_fusing_keeps_the_output_and_leaves_no_batch_norm(family):
    torch.manual_seed(0)
    model = build(name(family, "n")).eval()
    randomise_batch_norm(model)
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        expected = model(image)[0]
        model.fuse(verbose=False)
        model.fuse(verbose=False)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        assert (model(image)[0] - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_file_says_how_to_train_it(family):
    text = Path(configs.models()[family]).read_text()
    assert f"yolo train model={name(family, 'n')} data=coco8.yaml" in text
    assert "arxiv.org/abs/" in text
