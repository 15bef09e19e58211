"""Images of six channels whose halves go to two backbones: the example, and two whole networks."""

import copy
import csv
import inspect
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, randomise_batch_norm
from ultralytics import YOLO
from ultralytics.data.base import BaseDataset
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import get_flops

from yolo_backbones import compose, detectors
from yolo_backbones.layers.channels import Channels

QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "seed": 0}
EXAMPLE = ROOT / "examples" / "yolov8n-twobackbones.yaml"
ROWS = yaml.safe_load((ROOT / "examples" / "yolov8-twobackbones.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> Path:
    """The YAML of a few pictures of six channels, as the example draws them."""
    if "channels" not in inspect.signature(BaseDataset.__init__).parameters:
        pytest.skip("this Ultralytics reads three channels only")
    draw = runpy.run_path(str(ROOT / "examples" / "two_backbones.py"))["draw"]
    return draw(tmp_path_factory.mktemp("six"), train=6, val=3, imgsz=64)


@pytest.fixture(scope="module")
def last(six, tmp_path_factory) -> Path:
    """The last.pt of the example's training, which was ended after the first of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    model = YOLO(EXAMPLE)
    model.add_callback("on_model_save", lambda trainer: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(six), epochs=2, project=str(folder), name="train", **QUICK)
    return folder / "train" / "weights" / "last.pt"


def two_networks() -> dict:
    """The example's head behind two whole networks."""
    rows = [[-1, 1, "nn.Identity", []]]
    for half, name, channels in ((0, "starnet_s1", [48, 96, 192]), (3, "resnet18", [128, 256, 512])):
        rows += [[0, 1, "Channels", [half, half + 3]], [-1, 1, "Network", [name, channels, {"strides": [8, 16, 32]}]]]
        rows += [[len(rows) - 1, 1, "FeatureMap", [i, c]] for i, c in enumerate(channels)]
    for i, c in enumerate((256, 512, 1024)):
        rows += [[[3 + i, 8 + i], 1, "Concat", [1]], [-1, 1, "Conv", [c, 1, 1]]]
    rows.append([-1, 1, "SPPF", [1024, 5]])
    head = copy.deepcopy(ROWS["head"])
    for row in head:
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        moved = [j if j < 0 else j - 8 for j in sources]  # there are eight rows fewer before each
        row[0] = moved if isinstance(row[0], list) else moved[0]
    return {**ROWS, "backbone": rows, "head": head, "scale": "n", "yaml_file": "yolov8n-twonetworks.yaml"}


MODELS = {
    "families": lambda: copy.deepcopy(ROWS) | {"scale": "n", "yaml_file": "yolov8n-two.yaml"},
    "networks": two_networks,
}


def test_channels_are_those_of_a_slice():
    x = torch.rand(2, 6, 4, 4)
    assert torch.equal(Channels(6, 3, 5)(x), x[:, 3:5])


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_each_backbone_sees_its_half_alone(build):
    model = DetectionModel(build(), verbose=False).eval()
    assert model.yaml["channels"] == 6 and model.stride.tolist() == [8, 16, 32]
    seen = [row for row in model.model if isinstance(row, Channels)]
    given = {}
    for row in seen:
        row.register_forward_hook(lambda layer, x, y: given.update({layer.start: y}))
    image = torch.rand(1, 6, 64, 64)
    model(image)
    assert torch.equal(given[0], image[:, :3]) and torch.equal(given[3], image[:, 3:])


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_fusing_changes_nothing(build):
    torch.manual_seed(0)
    model = DetectionModel(build(), verbose=False)
    randomise_batch_norm(model)
    model.eval()
    image = torch.rand(1, 6, 64, 64)
    with torch.no_grad():
        before = model(image)[0].clone()
        count = len(list(model.modules()))
        model.fuse(verbose=False)
        torch.testing.assert_close(model(image)[0], before, rtol=1e-3, atol=1e-3)
    assert len(list(model.modules())) < count


def test_gflops_are_counted_on_an_image_of_all_channels():
    half = MODELS["families"]() | {"channels": 3}
    half["backbone"][10][3] = [0, 3]
    found = [get_flops(DetectionModel(rows, verbose=False), 640) for rows in (MODELS["families"](), half)]
    assert found[0] == pytest.approx(found[1], rel=1e-3) and found[0] > 5


def test_a_data_set_of_other_channels_is_told(six, few_shapes, tmp_path):
    with pytest.raises(ValueError, match=r"row 10: Channels: .*\[3, 6\] has to lie in \[0, 3\].*data.yaml"):
        YOLO(EXAMPLE).train(data=str(few_shapes), epochs=1, project=str(tmp_path), **QUICK)


def test_a_model_is_built_for_the_channels_of_its_file_however_that_is_given():
    for model in (DetectionModel(str(EXAMPLE), verbose=False), DetectionModel(cfg=str(EXAMPLE), verbose=False)):
        assert model.yaml["channels"] == 6
    with pytest.raises(ValueError, match="row 10: Channels"):
        DetectionModel(str(EXAMPLE), 3, verbose=False)


def test_a_model_without_channels_rows_is_built_as_before():
    assert YOLO("yolov8n.yaml").model.model[0].conv.in_channels == 3


def test_another_backbone_can_take_the_place_of_both():
    """Of six channels too; the head reads the rows in which the halves meet."""
    detector = detectors.find(ROOT / "examples" / "yolov8-twobackbones.yaml")
    assert detector.taps == {8: 20, 16: 22, 32: 24}
    model = DetectionModel(compose(ROOT / "examples" / "yolov8-twobackbones.yaml", "starnet_s1"), ch=6, verbose=False)
    assert model.eval()(torch.rand(1, 6, 64, 64))[0].shape == (1, 84, 84)


def test_it_is_resumed_in_a_fresh_process(last, run_cli, tmp_path):
    code = f"""
from ultralytics import YOLO
from ultralytics.data.base import BaseDataset
YOLO({str(last)!r}).train(resume=True)
"""
    run_cli(["python", "-c", code], cwd=tmp_path)
    with open(last.parents[1] / "results.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2]


def test_a_picture_is_predicted_on_by_the_command_line(last, six, run_cli, tmp_path):
    picture = six.parent / "images" / "val" / "00000.tiff"
    done = run_cli(["yolo", "predict", f"model={last}", f"source={picture}", "imgsz=64", "save=False"], cwd=tmp_path)
    assert "64x64" in done.stdout and "shape (1, 6, 64, 64)" in done.stdout


def test_freezing_one_backbone(last, six, tmp_path):
    model = YOLO(last)
    model.train(data=str(six), epochs=1, project=str(tmp_path), freeze=10, **QUICK)
    rows = model.trainer.model.model
    assert not any(p.requires_grad for row in rows[:10] for p in row.parameters())
    assert all(p.requires_grad for row in rows[10:19] for p in row.parameters())


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_onnx_agrees(build, tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("yolov8n-two.yaml").write_text(yaml.safe_dump(build()))
    torch.manual_seed(0)
    model = YOLO("yolov8n-two.yaml")
    randomise_batch_norm(model.model)
    image = torch.rand(1, 6, 64, 64)
    with torch.no_grad():
        expected = model.model.eval()(image)[0].numpy()
    session = runtime.InferenceSession(model.export(format="onnx", imgsz=64))
    assert session.get_inputs()[0].shape == [1, 6, 64, 64]
    np.testing.assert_allclose(session.run(None, {"images": image.numpy()})[0], expected, rtol=1e-3, atol=1e-2)


def test_two_networks_are_trained(six, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("yolov8n-two.yaml").write_text(yaml.safe_dump(two_networks()))
    model = YOLO("yolov8n-two.yaml")
    model.train(data=str(six), epochs=1, project=str(tmp_path), name="train", **QUICK)
    again = YOLO(tmp_path / "train" / "weights" / "last.pt").model.float().eval()
    networks = [row for row in again.model if type(row).__name__ == "Network"]
    assert [network.mean.shape[1] for network in networks] == [3, 3]
