"""Tools of others, with packages of their own, on the package's models. docs/integrations.md tells what to type.

Where a tool's packages are missing, its tests are skipped; with `--integrations`, as `make integrations` runs them,
they fail.
"""

import copy
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import randomise_batch_norm
from torch import nn
from ultralytics import YOLO, solutions
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import C2PSA, C2f, Conv, Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import ROOT

from yolo_backbones import configs, shapes
from yolo_backbones.families.fasternet import C2f_Faster
from yolo_backbones.families.sknet import SKConv
from yolo_backbones.families.starnet import C2f_Star
from yolo_backbones.layers import in_place

FAMILIES = sorted(stem.removeprefix("yolov8-") for stem in configs.models())
DIALECTS = Path(__file__).parent / "data" / "dialects"
TUTORIALS = [
    "yolov8n-c2f-star",
    "yolov8n-c2f-faster",
    "yolo11n-c3k2-star",
    "yolo11n-c3k2-faster",
    "yolov8n-skattention",
]
COMPOSED = ["resnet18", "starnet_s050"]
SIDE = 64
SQUARE = 24  # pixels
LOGGED = ["yolov8n-starnet.yaml", "yolov8n-starnet_s050.yaml"]
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


def square(x: float, y: float, side: int = SIDE) -> np.ndarray:
    """A picture with an orange square, whose corner is at x, y."""
    picture = np.random.default_rng(0).normal(75, 12, (side, side, 3)).clip(0, 255).astype(np.uint8)
    picture[round(y) : round(y) + SQUARE, round(x) : round(x) + SQUARE] = (25, 130, 230)
    return picture


MOVING = [square(4 + 3 * i, 8 + 2 * i) for i in range(11)]


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the checkpoint of a model that was trained to find squares; each is trained once."""
    folder, trained = tmp_path_factory.mktemp("finder"), dict[str, Path]()
    places = np.random.default_rng(0).uniform(0, SIDE - SQUARE, (64, 2))
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for i, (x, y) in enumerate(places):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), square(x, y))
        box = [(round(x) + SQUARE / 2) / SIDE, (round(y) + SQUARE / 2) / SIDE, SQUARE / SIDE, SQUARE / SIDE]
        (folder / "labels" / f"{i}.txt").write_text(" ".join(map(str, [0, *box])))
    data = folder / "squares.yaml"
    data.write_text(yaml.safe_dump({"path": str(folder), "train": "images", "val": "images", "names": ["square"]}))

    def train(name: str) -> Path:
        if name not in trained:
            model = YOLO(name)
            model.train(**{
                **options(folder, data), "name": Path(name).stem, "epochs": 8, "val": False, "seed": 0,
                "optimizer": "AdamW", "lr0": 2e-3, "nbs": 4, "warmup_epochs": 0, "mosaic": 0, "scale": 0,
            })  # fmt: skip
            trained[name] = Path(model.trainer.last)
        return trained[name]

    train.data = data
    return train


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
        if isinstance(row, C2f):  # YOLO11's C3k2 too
            model.model[i] = SplitC2f(row)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        torch.rand(1, 3, SIDE, SIDE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        ignored_layers=[layer for layer in model.modules() if isinstance(layer, (Detect, C2PSA))],
        pruning_ratio=0.3,
    )
    pruner.step()
    return model


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", [*FAMILIES, "fasternet_t0", "skresnet18", "lsknet_t", "yolo11n-starnet", *TUTORIALS])
def test_a_pruned_model_is_trained_fused_saved_and_exported(name, needs, tmp_path, few_shapes):
    needs("torch_pruning", "onnx", "onnxslim", "onnxruntime")
    name = (
        str(DIALECTS / f"{name}.yaml")
        if name in TUTORIALS
        else f"{'' if name[:4] == 'yolo' else 'yolov8n-'}{name}.yaml"
    )
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


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize(
    "build",
    [lambda: SKConv(24, 24, g=1, split=True), lambda: C2f_Star(24, 24), lambda: C2f_Faster(24, 24, 2)],
    ids=["SKConv", "C2f_Star", "C2f_Faster"],
)
def test_no_channel_is_taken_for_another(build, needs):
    """Channels that are 0 are removed, and the output stays."""
    needs("torch_pruning")
    import torch_pruning

    torch.manual_seed(0)
    model = nn.Sequential(Conv(3, 24), build(), Conv(24, 8)).eval()
    x = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        dead = [1, 2, 6, 7, 13, 20]  # of the first convolution's
        model[0].conv.weight[dead] = 0
        expected = model(x)
    graph = torch_pruning.DependencyGraph().build_dependency(model, x)
    graph.get_pruning_group(model[0].conv, torch_pruning.prune_conv_out_channels, dead).prune()
    assert model[0].conv.out_channels == 18
    torch.testing.assert_close(model(x), expected)


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


# ---- trackers, solutions, SAHI ----


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort", "botsort by features"])
@pytest.mark.parametrize("name", LOGGED)
def test_a_square_keeps_its_number_while_it_moves(name, tracker, needs, finder, tmp_path):
    needs("lap")
    file = Path(f"{tracker.partition(' ')[0]}.yaml")
    if "features" in tracker:  # those that the backbone and the neck give the head
        settings = yaml.safe_load((ROOT / "cfg" / "trackers" / file).read_text())
        file = tmp_path / file
        file.write_text(yaml.safe_dump(settings | {"with_reid": True, "model": "auto"}))
    model = YOLO(finder(name))
    numbers = []
    for i, frame in enumerate(MOVING):
        (found,) = model.track(frame, persist=True, tracker=str(file), imgsz=SIDE, device="cpu", verbose=False)
        assert found.boxes.id is not None
        numbers.append(found.boxes.id.tolist())
        corner = found.boxes.xyxy[found.boxes.conf.argmax(), :2]
        np.testing.assert_allclose(corner, (4 + 3 * i, 8 + 2 * i), atol=6)
    assert set.intersection(*map(set, numbers))


def test_a_video_is_tracked_by_the_command(needs, finder, tmp_path, run_cli):
    needs("lap")
    video = cv2.VideoWriter(str(tmp_path / "squares.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (SIDE, SIDE))
    for frame in MOVING:
        video.write(frame)
    video.release()
    checkpoint = finder(LOGGED[0])
    settings = [f"imgsz={SIDE}", "device=cpu", f"project={tmp_path}", "name=run", "save_txt=True"]
    run_cli(["yolo", "track", f"model={checkpoint}", f"source={tmp_path / 'squares.avi'}", *settings])
    tracks = [file.read_text().split() for file in (tmp_path / "run" / "labels").iterdir()]
    assert len(tracks) == len(MOVING)
    assert all(len(words) >= 6 and words[5] == "1" for words in tracks)  # class, box, number


@pytest.mark.parametrize(
    ("solution", "settings", "says"),
    [
        ("ObjectCounter", {"region": [(32, 0), (32, SIDE)]}, {"in_count": 1, "out_count": 0}),
        ("RegionCounter", {"region": [(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)]}, {"total_tracks": 1}),
        ("QueueManager", {"region": [(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)]}, {"queue_count": 1}),
        ("Heatmap", {"colormap": cv2.COLORMAP_JET}, {"total_tracks": 1}),
        ("TrackZone", {"region": [(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)]}, {"total_tracks": 1}),
        ("SpeedEstimator", {"fps": 10}, {"total_tracks": 1}),
        ("DistanceCalculation", {}, {"total_tracks": 1}),
        ("VisionEye", {"vision_point": (1, 1)}, {"total_tracks": 1}),
        ("ObjectBlurrer", {}, {"total_tracks": 1}),
    ],
)
def test_solutions(solution, settings, says, needs, finder):
    needs("lap", "shapely")
    for name in LOGGED:
        solve = getattr(solutions, solution)(
            model=str(finder(name)), show=False, imgsz=SIDE, device="cpu", verbose=False, **settings
        )
        for frame in MOVING:
            result = solve(frame.copy())
        assert {key: getattr(result, key) for key in says} == says
        assert not np.array_equal(result.plot_im, frame)


@pytest.mark.parametrize("name", LOGGED)
def test_sahi_finds_the_squares_of_a_large_picture(name, needs, finder, tmp_path):
    needs("sahi")
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    corners = [(10, 20), (90, 30), (40, 84)]
    picture = square(*corners[0], side=128)
    for x, y in corners[1:]:
        picture[y : y + SQUARE, x : x + SQUARE] = square(x, y, side=128)[y : y + SQUARE, x : x + SQUARE]
    model = AutoDetectionModel.from_pretrained(
        model_type="ultralytics", model_path=str(finder(name)), confidence_threshold=0.4, device="cpu", image_size=SIDE
    )
    found = get_sliced_prediction(
        picture[..., ::-1].copy(), model, slice_height=SIDE, slice_width=SIDE, overlap_height_ratio=0.5,
        overlap_width_ratio=0.5, postprocess_type="NMS", verbose=0,
    )  # fmt: skip
    boxes = [prediction.bbox.to_xyxy() for prediction in found.object_prediction_list]
    for x, y in corners:
        assert any(np.allclose(box, (x, y, x + SQUARE, y + SQUARE), atol=6) for box in boxes)
    assert len(boxes) < 2 * len(corners)  # slices also cut through a square


# ---- class activation maps ----


class Scores(nn.Module):
    """A detector that returns its scores alone, as classifiers do: what these libraries take."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)[0][:, 4:].sum(2)


@pytest.mark.parametrize("method", ["GradCAM", "EigenCAM"])
@pytest.mark.parametrize("name", [*FAMILIES, *COMPOSED])
def test_heat_maps_of_the_last_row_of_a_backbone(name, method, needs, monkeypatch):
    needs("pytorch_grad_cam")
    import pytorch_grad_cam

    torch.manual_seed(0)
    model = DetectionModel(f"yolov8n-{name}.yaml", verbose=False).eval()
    randomise_batch_norm(model)
    rows = [row for row in model.model[:9] if not isinstance(row, nn.Identity)]
    image = torch.rand(1, 3, 2 * SIDE, 2 * SIDE).repeat(2, 1, 1, 1)
    # What speaks for an untrained model's scores is what speaks against, with the other sign: one of the two is seen.
    targets = [lambda scores: scores.sum(), lambda scores: -scores.sum()]
    heat = []
    for watched in (in_place.watched, lambda *modules: True):
        monkeypatch.setattr(in_place, "watched", watched)
        with getattr(pytorch_grad_cam, method)(Scores(model), target_layers=rows[-1:]) as cam:
            heat.append(cam(image, targets=targets))
    assert heat[0].shape == (2, 2 * SIDE, 2 * SIDE)
    assert np.isfinite(heat[0]).all() and np.ptp(heat[0].max(0)) > 0.5
    np.testing.assert_array_equal(*heat)


# ---- Ultralytics' benchmark and loggers ----


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", LOGGED)
def test_benchmark(name, format, needs, finder, monkeypatch, tmp_path):
    needs("onnx", "onnxslim", "onnxruntime")
    from ultralytics.utils.benchmarks import benchmark

    monkeypatch.chdir(tmp_path)
    (row,) = benchmark(finder(name), data=str(finder.data), imgsz=SIDE, format=format, verbose=0.1).to_dicts()
    assert float(row["metrics/mAP50-95(B)"]) > 0.1 and "❌" not in row.values()


def train_with(logger: str, name: str, data: Path, folder: Path, env: dict[str, str]) -> Path:
    """Train for an epoch in a process that does not look like a test, where Ultralytics logs nothing."""
    (folder / "Ultralytics").mkdir()
    code = f"from ultralytics import YOLO, settings; settings.update({{'{logger}': True}}); "
    code += f"YOLO({name!r}).train(**{options(folder, data)!r})"
    kept = {key: value for key, value in os.environ.items() if key not in {"PYTEST_CURRENT_TEST", "GITHUB_ACTIONS"}}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**kept, "YOLO_CONFIG_DIR": str(folder), **env},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed" not in done.stdout and "failure" not in done.stdout + done.stderr, done.stdout + done.stderr
    return folder / "run"


@pytest.mark.parametrize("name", LOGGED)
def test_mlflow(name, needs, few_shapes, tmp_path):
    needs("mlflow")
    import mlflow

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    train_with("mlflow", name, few_shapes, tmp_path, {"MLFLOW_TRACKING_URI": store})
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FINISHED" and run.data.params["model"] == name
    assert {"train/box_loss", "metrics/mAP50-95B"} <= run.data.metrics.keys()
    assert {"weights/best.pt", "weights/last.pt"} <= {
        file.path for file in client.list_artifacts(run.info.run_id, "weights")
    }


@pytest.mark.parametrize("name", LOGGED)
def test_weights_and_biases(name, needs, few_shapes, tmp_path):
    needs("wandb")
    run = train_with("wandb", name, few_shapes, tmp_path, {"WANDB_MODE": "offline"})
    (log,) = (run / "wandb").glob("offline-run-*/*.wandb")
    content = log.read_bytes()
    for word in ("train/box_loss", "metrics/mAP50-95(B)", name, "best.pt"):
        assert word.encode() in content


@pytest.mark.parametrize("name", LOGGED)
def test_tensorboard(name, needs, few_shapes, tmp_path):
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(train_with("tensorboard", name, few_shapes, tmp_path, {})))
    events.Reload()
    assert "train/box_loss" in events.Tags()["scalars"] and events.Tags()["graph"]
    assert len(events.Graph().node) > 100
