"""Whole networks as backbones: their features are the references', and their weights stay where they were loaded."""

import csv
import json
import shutil
import threading
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import yaml
from conftest import randomise_batch_norm
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import torch_utils

from yolo_backbones.backbones import find
from yolo_backbones.backbones.chain import Chain
from yolo_backbones.backbones.network import FeatureMap, Network
from yolo_backbones.composition import compose
from yolo_backbones.families import families, family_of
from yolo_backbones.weights import report
from yolo_backbones.weights.loaded import IMAGENET

SMALL = "test_resnet"  # 0.5 M parameters, strides 2 to 32
TAPS = (4, 6, 8)
QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "seed": 0}


def network(name: str) -> nn.Module:
    """timm's network, or our VanillaNet, with random weights that no mistake could go unnoticed with."""
    torch.manual_seed(0)
    built = family_of(name).variants[name].build() if name.startswith("vanillanet") else timm.create_model(name)
    randomise_batch_norm(built)
    return built.eval()


def saved(network: nn.Module, folder: Path) -> Path:
    file = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    return file


def rows(model: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """The maps that leave a model at rows 4, 6 and 8."""
    found = []
    hooks = [model.model[row].register_forward_hook(lambda *seen: found.append(seen[-1])) for row in TAPS]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    return found


def features(network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """The reference's maps at strides 8, 16 and 32, of the image as it was trained to see it."""
    told = getattr(network, "pretrained_cfg", None)
    mean, std = (told["mean"], told["std"]) if told else IMAGENET
    image = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.no_grad():
        if told:
            found = network.forward_intermediates(image, intermediates_only=True)
        else:
            found = network.forward_features(image)
    last = {image.shape[-1] // x.shape[-1]: x for x in found}
    return [last[stride] for stride in (8, 16, 32)]


PUBLISHED = ("starnet_s1", "fasternet_t0", "skresnet18", "vanillanet_5")
IN_TIMM = ("resnet18", "convnext_atto", "mobilenetv4_conv_small_035")


@pytest.mark.parametrize("name", PUBLISHED + IN_TIMM)
def test_features_in_the_built_model_are_the_networks_own(name, tmp_path):
    """After all that Ultralytics does to a model; on an image in 0..1, where the network wants it normalised."""
    reference = network(name)
    model = DetectionModel(compose("yolov8n", name, saved(reference, tmp_path)), verbose=False).eval()
    image = torch.rand(2, 3, 64, 96)
    for ours, expected in zip(rows(model, image), features(reference, image), strict=True):
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


def test_batch_norm_and_activations_keep_the_networks_settings():
    resnet = DetectionModel(compose("yolov8n", SMALL), verbose=False)
    inside = {m.eps for m in resnet.model[0].modules() if isinstance(m, nn.BatchNorm2d)}
    outside = {m.eps for m in resnet.model[9:].modules() if isinstance(m, nn.BatchNorm2d)}
    assert (inside, outside) == ({1e-5}, {1e-3})
    vanilla = DetectionModel(compose("yolov8n", "vanillanet_5"), verbose=False)
    assert {m.eps for m in vanilla.model[0].modules() if isinstance(m, nn.BatchNorm2d)} == {1e-6}
    star = DetectionModel(compose("yolov8n", "starnet_s050"), verbose=False)
    assert all(m.inplace for m in star.model[0].modules() if isinstance(m, nn.ReLU6))
    # A family is no published network: it is trained as everything of Ultralytics' is.
    family = DetectionModel(compose("rtdetr-l", "starnet"), verbose=False)
    assert {m.eps for m in family.model[0].modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["starnet_s1", SMALL])
def test_images_of_any_channel_count(name, channels, tmp_path):
    reference = network(name)
    config = compose("yolov8n", name, saved(reference, tmp_path))
    model = DetectionModel(config, ch=channels, verbose=False).eval()
    model(torch.rand(1, channels, 64, 64))
    (first,) = [m for m in model.modules() if isinstance(m, nn.Conv2d)][:1]
    (theirs,) = [m for m in timm.create_model(name, in_chans=channels).modules() if isinstance(m, nn.Conv2d)][:1]
    rgb = next(m for m in reference.modules() if isinstance(m, nn.Conv2d)).weight
    assert first.weight.shape == theirs.weight.shape
    torch.testing.assert_close(first.weight, timm.models.adapt_input_conv(channels, rgb.detach()))


def test_a_data_sets_channels_reach_the_first_convolution(coco8, tmp_path):
    grey = tmp_path / "grey.yaml"
    grey.write_text(coco8.read_text() + "\nchannels: 1\n")
    model = YOLO(f"yolov8n-{SMALL}.yaml")
    seen = []
    model.add_callback("on_train_start", lambda trainer: seen.append(trainer.model.model[0].mean.shape))
    if not yaml.safe_load(coco8.read_text()).get("path"):
        text = yaml.safe_dump({**yaml.safe_load(grey.read_text()), "path": str(coco8.parent)})
        grey.write_text(text)
    model.train(data=str(grey), epochs=1, val=False, project=str(tmp_path), name="grey", **QUICK)
    assert seen == [(1, 1, 1, 1)]


# ---- weights through a training ----


@pytest.fixture
def asked_for(tmp_path):
    """A model YAML with weights in a file, the file's network, and the folder that both are in."""
    reference = network(SMALL)
    config = compose("yolov8n", SMALL, saved(reference, tmp_path))
    file = tmp_path / "yolov8n-mine.yaml"
    file.write_text(yaml.safe_dump(config))
    return file, reference


def assert_loaded(model: nn.Module, reference: nn.Module, tolerance: float = 1e-4) -> None:
    image = torch.rand(1, 3, 64, 64)
    for ours, expected in zip(rows(model.eval(), image), features(reference, image), strict=True):
        assert (ours - expected).abs().max() < tolerance * expected.abs().max()


def test_the_trainers_model_has_the_weights_before_its_first_step(asked_for, coco8, tmp_path):
    file, reference = asked_for
    model = YOLO(file)
    assert_loaded(model.model, reference)
    seen = []

    def look(trainer) -> None:
        assert_loaded(trainer.model, reference)
        assert_loaded(trainer.ema.ema, reference)
        trainer.model.train()
        seen.append(True)

    model.add_callback("on_train_start", look)
    model.train(data=str(coco8), epochs=1, val=False, project=str(tmp_path), name="train", **QUICK)
    assert seen == [True]
    # And it is no more than a start: they are trained.
    after = dict(model.trainer.model.named_parameters())
    before = dict(DetectionModel(yaml_model_load(file), verbose=False).named_parameters())
    assert any(
        not torch.equal(after[key], before[key]) for key in after if key.startswith("model.0.") and key in before
    )


def test_by_the_command_line(asked_for, coco8, run_cli, tmp_path):
    """Nothing is learned at a rate of 0, so the checkpoint holds what training began with."""
    file, reference = asked_for
    flags = [f"{key}={value}" for key, value in QUICK.items()]
    still = ["optimizer=SGD", "lr0=0", "warmup_bias_lr=0", "warmup_epochs=0", "weight_decay=0", "freeze=9"]
    done = run_cli(
        ["yolo", "train", f"model={file}", f"data={coco8}", "epochs=1", *flags, *still, f"project={tmp_path}", "name=t"]
    )
    assert f"{SMALL}: " in done.stdout + done.stderr  # the one line that says what was loaded
    model = YOLO(tmp_path / "t" / "weights" / "last.pt").model
    loaded = {k: v for k, v in model.model[0].state_dict().items() if "weight" in k and v.ndim == 4}
    values = {value.half().sum().item() for value in reference.state_dict().values() if value.ndim == 4}
    assert len(loaded) > 10
    assert {value.half().sum().item() for value in loaded.values()} <= values


def test_in_a_worker_started_from_ultralytics_file(asked_for, coco8, run_cli, tmp_path):
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils.dist import generate_ddp_file

    file, reference = asked_for
    overrides = {"model": str(file), "data": str(coco8), "epochs": 1, "project": str(tmp_path), "name": "ddp", **QUICK}
    worker = Path(generate_ddp_file(DetectionTrainer(overrides=overrides)))
    expected = tmp_path / "expected.pt"
    image = torch.rand(1, 3, 64, 64)
    torch.save([image, *features(reference, image)], expected)
    looking = f"""
import torch
from ultralytics.engine.trainer import BaseTrainer
def look(trainer):
    image, *expected = torch.load({str(expected)!r})
    model, found = trainer.model.eval(), []
    for row in {TAPS}:
        model.model[row].register_forward_hook(lambda *seen: found.append(seen[-1]))
    with torch.no_grad():
        model(image)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    print("the worker has the weights")
    raise SystemExit
run_callbacks = BaseTrainer.run_callbacks
BaseTrainer.run_callbacks = lambda self, event: look(self) if event == "on_train_start" else run_callbacks(self, event)
"""
    # In front of the file as it is; imported by it, sys.path and all, the trainer is the same.
    text = worker.read_text()
    worker.write_text(text.replace('if __name__ == "__main__":', looking + 'if __name__ == "__main__":', 1))
    done = run_cli(["python", worker])
    worker.unlink()
    assert "the worker has the weights" in done.stdout


NO_NETWORK = """
import json, os, socket, sys
tried = []
def refuse(self, address, *args):
    tried.append(address)
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda host, *args, **kwargs: refuse(None, host)
from ultralytics import YOLO
from ultralytics.utils import ONLINE
last, data, project = sys.argv[1:]
quick = dict(imgsz=64, batch=2, workers=0, plots=False, device="cpu", project=project)
import glob, yaml, pathlib
YOLO(last).predict(torch_image := __import__("numpy").zeros((64, 64, 3), "uint8"), imgsz=64, verbose=False)
YOLO(last).val(data=data, **quick)
YOLO(last).train(data=data, epochs=1, name="tuned", **quick)
again = YOLO(project + "/tuned/weights/last.pt")
again.train(data=data, epochs=1, name="again", **quick)
YOLO(last).train(resume=True, device="cpu")
YOLO(last).export(format="torchscript", imgsz=64)
from huggingface_hub import constants
asked = [a for a in tried if a and "127.0.0.1:9" in str(a) or "hugging" in str(a)]
print("asked", asked)
"""


def test_a_model_from_a_checkpoint_touches_no_network(coco8, run_cli, tmp_path, monkeypatch):
    """Weights that a tag asked for: once trained, they are in the checkpoint, and nothing asks for them again."""
    hub = tmp_path / "hub"
    reference = network(SMALL)
    snapshot = hub / f"models--timm--{SMALL}.r160_in1k" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    shutil.copyfile(saved(reference, tmp_path), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))

    class Interrupt(Exception):
        pass

    def interrupt(trainer) -> None:
        raise Interrupt

    model = YOLO(f"yolov8n-{SMALL}.r160_in1k.yaml")
    assert_loaded(model.model, reference)
    model.add_callback("on_model_save", interrupt)
    with pytest.raises(Interrupt):
        model.train(data=str(coco8), epochs=2, project=str(tmp_path), name="first", **QUICK)
    last = tmp_path / "first" / "weights" / "last.pt"
    shutil.rmtree(hub)

    trained = YOLO(last).model
    assert "weights" not in json.dumps(trained.yaml["backbone"][0])
    empty = {
        "HF_HOME": str(tmp_path / "none"),
        "TORCH_HOME": str(tmp_path / "none"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    done = run_cli(["python", "-c", NO_NETWORK, last, coco8, tmp_path], env=empty)
    assert "asked []" in done.stdout
    with open(tmp_path / "first" / "results.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2]


def test_fine_tuning_a_checkpoint_starts_from_it(asked_for, coco8, tmp_path):
    file, reference = asked_for
    YOLO(file).save(tmp_path / "start.pt")
    model = YOLO(tmp_path / "start.pt")
    (tmp_path / "weights.safetensors").unlink()  # it is in the checkpoint
    model.add_callback("on_train_start", lambda trainer: assert_loaded(trainer.model, reference, 1e-2))
    model.train(data=str(coco8), epochs=1, val=False, project=str(tmp_path), name="tuned", **QUICK)


def test_stocks_neck_and_head_carry_over(tmp_path):
    """DESIGN 3: rows keep their numbers, so the keys of neck and head do."""
    stock = DetectionModel("yolov8n.yaml", verbose=False)
    model = DetectionModel(compose("yolov8n", "resnet18"), verbose=False)
    model.load(stock)
    keys = [key for key in stock.state_dict() if int(key.split(".")[1]) > 9]
    same = [key for key in keys if torch.equal(stock.state_dict()[key], model.state_dict().get(key, torch.empty(0)))]
    assert len(same) / len(keys) > 0.95


# ---- rows written by hand ----


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((5, [64], {"strides": [8]}), r"name=5 has to be a network's name"),
        ((SMALL, 64, {"strides": [8]}), r"c2=64 has to be a list"),
        ((SMALL, [64], {"strides": [8], "size": 2}), r"options=.*'size'.* has to hold strides"),
        (
            (SMALL, [64], [8, 16]),
            r"options=\[8, 16\] has to hold strides and perhaps weights, width, depth, drop_path and frozen_bn, or",
        ),
        (
            (SMALL, [64], {}),
            r"has to hold strides and perhaps weights, width, depth, drop_path and frozen_bn, or rows and taps",
        ),
        ((SMALL, [64], {"strides": 8}), r"strides=8 has to be a list such as \[8, 16, 32\], or last"),
        ((SMALL, [64], {"strides": "all"}), r"strides='all' has to be a list"),
        ((SMALL, [64], {"strides": [8], "weights": True}), r"weights=True has to be a tag, .* or the path of a file"),
        (("starnet_s1.in1k", [48], {"strides": [8]}), r"has a tag, which belongs into the options, as weights: in1k"),
        (("starnet_s9", [48], {"strides": [8]}), r"no backbone is called starnet_s9; did you mean starnet_s"),
        (
            ("starnet_s050", [1, 2], {"strides": [8, 16]}),
            r"have \[32, 64\] channels, and the YAML row gives c2=\[1, 2\]",
        ),
        (("starnet_s1", [1], {"strides": [64]}), r"starnet_s1 has no map at stride 64.*\[4, 8, 16, 32\]"),
        (("vanillanet_13_x1_5_ada_pool", [1], {"strides": [8]}), r"fixed size; it serves classification"),
    ],
)
def test_mistaken_rows_say_so(args, message):
    with pytest.raises(ValueError, match=message) as raised:
        Network(3, *args)
    assert "\n" not in str(raised.value)


def test_a_feature_map_row_has_to_fit_its_network():
    maps = [torch.rand(1, 16, 4, 4), torch.rand(1, 32, 2, 2)]
    assert FeatureMap([16, 32], 1, 32)(maps) is maps[1]
    for c1, index, c2 in (([16, 32], 2, 32), ([16, 32], 0, 32), (16, 0, 16), ([16], "two", 16), ([16], 0.0, 16)):
        with pytest.raises(ValueError, match=r"FeatureMap: the YAML row asks for map"):
            FeatureMap(c1, index, c2)


def test_a_chain_runs_its_rows():
    chain = Chain(3, [[1, "Conv", [8, 3, 2]], [2, "FasterStage", [8]], [2, "VanillaBlock", [16, 2]]], [1, 2])
    found = chain(torch.rand(1, 3, 32, 64))
    assert [tuple(x.shape) for x in found] == [(1, 8, 16, 32), (1, 16, 4, 8)]
    assert chain.channels == (8, 16)
    with pytest.raises(ValueError, match="a block Konv, which is unknown"):
        Chain(3, [[1, "Konv", [8]]], [0])


@pytest.mark.slow
def test_strides_of_our_variants():
    for name in (variant for family in families().values() for variant in family.variants):
        strides = [map.stride for map in find(name).maps() if map.stride]
        assert strides == sorted(strides) and ("ada_pool" in name or {4, 8, 16, 32} <= set(strides))


def test_restricted_loading_takes_timms_layers(run_cli, tmp_path):
    YOLO("yolov8n-test_vit.yaml").save(tmp_path / "vit.pt")
    code = "from ultralytics import YOLO; print(type(YOLO('vit.pt').model.model[0].body.features.net).__name__)"
    done = run_cli(["python", "-c", code], cwd=tmp_path, env={"ULTRALYTICS_SAFE_LOAD": "1"})
    assert done.stdout.split()[-1] == "VisionTransformer"


@pytest.mark.parametrize("name", ["starnet_s1", SMALL])
def test_a_partial_file_is_told_and_another_networks_refused(name, tmp_path, monkeypatch):
    state = network(name).state_dict()
    last = [key for key in state if "stages.3" in key or "layer4" in key]
    part, other = tmp_path / "part.safetensors", tmp_path / "other.safetensors"
    safetensors.torch.save_file({key: value for key, value in state.items() if key not in last}, part)
    safetensors.torch.save_file(network("mobilenetv4_conv_small_035").state_dict(), other)
    said = []
    monkeypatch.setattr(report.LOGGER, "warning", said.append)
    DetectionModel(compose("yolov8n", name, part), verbose=False)
    assert len(said) == 1 and "left as initialised" in said[0]
    with pytest.raises(ValueError, match=rf"{name}: .*other\.safetensors"):
        DetectionModel(compose("yolov8n", name, other), verbose=False)


def test_a_deeper_networks_weights_are_warned_of(tmp_path, monkeypatch):
    """All of resnet18's tensors have their like in resnet34, which has more."""
    file = saved(timm.create_model("resnet34"), tmp_path)
    said = []
    monkeypatch.setattr(report.LOGGER, "warning", said.append)
    DetectionModel(compose("yolov8n", "resnet18", file), verbose=False)
    assert len(said) == 1 and "not part of the network" in said[0] and "the classifier" in said[0]


def test_the_run_that_finds_the_strides_leaves_published_statistics_alone():
    """Releases before Ultralytics put it into evaluation mode run the fresh rows as they come out of parse_model."""
    layers, _ = tasks.parse_model({**compose("yolov8n", SMALL), "ch": 3}, 3, verbose=False)
    net = layers[0]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net(torch.zeros(1, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    torch_utils.initialize_weights(layers)  # what they do next
    assert all(module.training for module in net.modules())
    classifier, _ = tasks.parse_model({**compose("yolov8n-cls", SMALL), "ch": 3}, 3, verbose=False)
    assert all(module.training for module in classifier[0].modules())  # for which none of this happens


def test_threads_get_their_own_weights(tmp_path):
    """timm's loader is replaced while a network is built, for the whole process."""
    names = ("test_resnet", "test_convnext", "test_efficientnet", "test_vit")
    files, lost = {}, []
    for name in names:
        (tmp_path / name).mkdir()
        files[name] = saved(network(name), tmp_path / name)
        compose("yolov8n", name)

    def load(name: str) -> None:
        for _ in range(5):
            row = compose("yolov8n", name, files[name])["backbone"][0]
            found = Network(3, *row[3]).state_dict()
            stem = next(value for value in found.values() if value.ndim == 4 and value.shape[0] > 1)
            if not any(torch.equal(stem, value) for value in safetensors.torch.load_file(files[name]).values()):
                lost.append(name)

    threads = [threading.Thread(target=load, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
