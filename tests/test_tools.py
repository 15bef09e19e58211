"""Scripts that people run on a model's rows work on models with a whole network in row 0, or say why they cannot."""

import copy
import gc
import importlib.util
import logging
import pickle
import re
import weakref
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import ultralytics.utils
from conftest import randomise_batch_norm
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs
from yolo_backbones.layers import in_place

FAMILIES = sorted(stem.removeprefix("yolov8-") for stem in configs.models())
MODELS = ["yolov8n.yaml", "yolov8n-starnet.yaml", "yolov8n-resnet18.yaml", "yolov8n-starnet_s050.yaml"]
COMPOSED = MODELS[2:]


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("name", MODELS)
def test_the_first_rows_as_a_feature_extractor(name, batch):
    model = DetectionModel(name, verbose=False).eval()
    image, seen = torch.rand(batch, 3, 64, 96), []
    handle = model.model[9].register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        model(image)
        handle.remove()
        found = nn.Sequential(*list(model.model.children())[:10])(image)
    torch.testing.assert_close(found, seen[0])


@pytest.mark.parametrize("name", COMPOSED)
def test_rows_called_one_behind_the_other(name):
    model = DetectionModel(name, verbose=False).eval()
    rows = [i for i, row in enumerate(model.model) if type(row).__name__ == "FeatureMap"]
    image = torch.rand(8, 3, 64, 64)
    x = image
    with torch.no_grad():
        maps = model.model[0](image)
        for i, row in enumerate(model.model[:10]):
            x = row(x)
            if i in rows:
                assert x is maps[rows.index(i)] or torch.equal(x, maps[rows.index(i)])
    with pytest.raises(ValueError, match="cannot be told from a tensor of shape"):
        model.model[rows[1]](torch.rand(8, 64, 8, 8))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", COMPOSED)
def test_no_map_outlives_its_pass(name, grad):
    """Also none that a graph of autograd's holds, where no backward pass takes the graph apart."""
    model = DetectionModel(name, verbose=False)
    maps, handles = [], []
    for row in model.model:
        if type(row).__name__ in {"FeatureMap", "Network"}:
            handles.append(
                row.register_forward_hook(
                    lambda module, given, output: maps.extend(
                        weakref.ref(map) for map in ([output] if isinstance(output, torch.Tensor) else output)
                    )
                )
            )
    gc.disable()
    try:
        with torch.set_grad_enabled(grad):
            model(torch.rand(2, 3, 64, 64))
        assert len(maps) >= 6 and not [ref for ref in maps if ref() is not None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", COMPOSED)
def test_embeddings_of_every_row(name):
    model = YOLO(name)
    image = torch.rand(2, 3, 64, 64)
    for i in range(len(model.model.model) - 1):
        if i < 4:  # the whole network, and rows that only keep the numbers of those behind them
            with pytest.raises(ValueError, match="several maps"):
                model.embed(image, embed=[i], verbose=False)
        else:
            assert len(model.embed(image, embed=[i], verbose=False)) == 2


@pytest.mark.parametrize("name", COMPOSED)
def test_all_maps_are_not_taken_for_one(name):
    with torch.no_grad():
        maps = DetectionModel(name, verbose=False).eval().model[0](torch.rand(1, 3, 64, 64))
    for use in (lambda: maps.shape, lambda: maps.cpu().detach(), lambda: torch.mean(maps)):
        with pytest.raises((AttributeError, ValueError), match="several maps"):
            use()
    assert not hasattr(maps, "shape")
    for copied in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
        assert all(map(torch.equal, copied, maps)) and len(copied) == len(maps)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_an_image_of_other_channels_is_refused(name, merged):
    model = DetectionModel(name, verbose=False).eval()
    if merged:
        model.fuse(verbose=False)
    for channels in (1, 4):
        with pytest.raises((ValueError, RuntimeError), match=re.compile("channels")):
            model(torch.rand(1, channels, 64, 64))


def test_an_image_of_one_channel_where_the_model_is_built_for_it():
    model = DetectionModel("yolov8n-resnet18.yaml", ch=1, verbose=False).eval()
    model(torch.rand(1, 1, 64, 64))
    with pytest.raises(ValueError, match="takes images of 1 channels"):
        model(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("file", ["r18.pth", "r18.safetensors", "r18.npz"])
def test_bare_weights_as_pretrained_are_pointed_to_the_way_that_works(file, tmp_path, few_shapes, run_cli):
    (tmp_path / file).write_bytes(b"weights")
    options = ["imgsz=64", "epochs=1", "device=cpu", "workers=0", f"project={tmp_path}"]
    command = ["yolo", "train", "model=yolov8n-resnet18.yaml", f"pretrained={tmp_path / file}", f"data={few_shapes}"]
    with pytest.raises(AssertionError, match="yolo-backbones new yolov8n resnet18 --weights"):
        run_cli([*command, *options])


@pytest.mark.parametrize("name", MODELS)
def test_pictures_of_what_a_model_looks_at(name, tmp_path, monkeypatch):
    """`visualize=True`: they show something, and the same where nothing is overwritten in place."""
    torch.manual_seed(0)
    model = YOLO(name)
    randomise_batch_norm(model.model)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    drawn = {}
    for run in ("in_place", "watched"):
        if run == "watched":
            monkeypatch.setattr(in_place, "watched", lambda *modules: True)
        model.predict([image], imgsz=64, visualize=True, project=str(tmp_path), name=run, verbose=False)
        drawn[run] = {
            str(file.relative_to(tmp_path / run)): cv2.imread(str(file))
            for file in (tmp_path / run).rglob("*")
            if file.suffix in {".jpg", ".png"}
        }
    assert drawn["in_place"] and drawn["in_place"].keys() == drawn["watched"].keys()
    for file, picture in drawn["in_place"].items():
        assert picture.std() > 5
        np.testing.assert_array_equal(drawn["watched"][file], picture)


@pytest.mark.parametrize("name", ["yolov8n.yaml", *(f"yolov8n-{name}.yaml" for name in FAMILIES), *COMPOSED])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_the_graph_for_tensorboard(name, monkeypatch, caplog):
    """Drawn by Ultralytics' callback at the start of a training, which then goes on."""
    model = DetectionModel(name, verbose=False).train()
    randomise_batch_norm(model)
    monkeypatch.setattr(ultralytics.utils, "TESTS_RUNNING", False)  # under pytest the callback is empty
    spec = importlib.util.find_spec("ultralytics.utils.callbacks.tensorboard")
    tensorboard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tensorboard)
    graphs = []
    tensorboard.WRITER = SimpleNamespace(add_graph=lambda graph, images: graphs.append(graph))
    with caplog.at_level(logging.WARNING):
        tensorboard._log_tensorboard_graph(SimpleNamespace(model=model, args=SimpleNamespace(imgsz=64), data={}))
    assert [record.message for record in caplog.records] == []
    (graph,) = graphs
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = graph(image), model.eval()(image)[0]
        found = found if isinstance(found, torch.Tensor) else found[0]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    maps = model.train()(image.repeat(2, 1, 1, 1))
    sum(map.sum() for map in (maps.values() if isinstance(maps, dict) else maps) if torch.is_tensor(map)).backward()
    assert all(parameter.grad is not None for parameter in model.model[0].parameters())
