"""VanillaNet's deep training: the slope through trainings, checkpoints, fine-tuning, resuming, several processes."""

import copy
import csv
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import randomise_batch_norm
from torch import multiprocessing, nn
from ultralytics import YOLO
from ultralytics.nn.tasks import BaseModel, DetectionModel
from ultralytics.utils import LOGGER
from ultralytics.utils.callbacks import get_default_callbacks
from ultralytics.utils.torch_utils import ModelEMA

from yolo_backbones import configs, shapes
from yolo_backbones.families.vanillanet import DeepTraining, VanillaNet, deep_convs

NAME = "yolov8n-vanillanet.yaml"
QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "verbose": False}


def slopes(model: nn.Module) -> set[float]:
    return {pair.slope for pair in deep_convs(model)}


def set_slope(model: nn.Module, value: float) -> None:
    for pair in deep_convs(model):
        pair.slope = value


def column(folder: Path, name: str) -> list[float]:
    with open(folder / "results.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file, skipinitialspace=True)]


@pytest.fixture
def config(tmp_path):
    """A copy of the shipped YAML with something under `deep_training`."""

    def write(text: str) -> Path:
        file = tmp_path / NAME
        shipped = configs.find_model(Path(NAME)).read_text(encoding="utf-8")
        file.write_text(f"{shipped}\ndeep_training: {text}\n", encoding="utf-8")
        return file

    return write


@pytest.fixture
def train(coco8, tmp_path):
    """Trains; each epoch's number and the slope, in the model and in its average, while it is trained."""

    def run(model: YOLO | str | Path, folder: str, **options) -> list[tuple[int, set[float], set[float]]]:
        seen = {}

        def note(trainer) -> None:
            seen[trainer.epoch] = trainer.epoch, slopes(trainer.model), slopes(trainer.ema.ema)

        model = YOLO(model) if not isinstance(model, YOLO) else model
        model.add_callback("on_train_batch_end", note)
        model.train(**{"data": str(coco8), "project": str(tmp_path), "name": folder, **QUICK, **options})
        return list(seen.values())

    return run


@pytest.mark.parametrize(
    ("plan", "total", "expected"),
    [
        (DeepTraining(), 6, [0, 0.5, 1, 1, 1, 1]),
        (DeepTraining(), 4, [0, 0.75, 1, 1]),
        (DeepTraining(), 2, [1, 1]),  # no room to rise in: a model that could not be merged would come out
        (DeepTraining(1.0), 4, [0, 0.25, 0.5, 0.75]),
        (DeepTraining(0), 3, [1, 1, 1]),
        (DeepTraining(form="cosine"), 9, [0, 0.25, 0.75, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_slope_rises_over_the_first_epochs(plan, total, expected):
    assert [plan.slope(epoch, total) for epoch in range(total)] == pytest.approx(expected)
    if 1 in expected:
        assert plan.epochs(total) == expected.index(1)


def test_of_300_epochs_it_rises_over_100():
    assert DeepTraining().epochs(300) == 100
    assert DeepTraining().slope(50, 300) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{share: 2}", r"share=2 has to be a number from 0 to 1"),
        ("{share: yes}", r"share=True has to be a number from 0 to 1"),
        ("{form: square}", r"form='square' is no such form; choose one of \('linear', 'cosine'\)"),
        ("{epochs: 100}", r"takes share and form"),
        ("100", r"takes share and form"),
    ],
)
def test_a_yaml_that_asks_for_something_else_says_so(text, message, config):
    with pytest.raises(ValueError, match=f"deep_training: .*{message}"):
        YOLO(config(text))


def test_model_and_average_rise_together_and_checkpoints_tell(train, tmp_path):
    seen = train(NAME, "run", epochs=6, save_period=1)
    expected = [0, 0.5, 1, 1, 1, 1]
    assert [(epoch, *model, *average) for epoch, model, average in seen] == [
        (epoch, slope, slope) for epoch, slope in enumerate(expected)
    ]
    assert column(tmp_path / "run", "slope") == expected
    weights = tmp_path / "run" / "weights"
    kept = [slopes(YOLO(weights / f"epoch{epoch}.pt").model) for epoch in range(6)]
    assert kept == [{slope} for slope in expected]


def test_a_yaml_sets_share_and_form(train, config):
    seen = train(config("{share: 0.5, form: cosine}"), "run", epochs=6, val=False)
    assert [next(iter(model)) for _, model, _ in seen] == pytest.approx([0, 0.25, 0.75, 1, 1, 1])


def test_other_models_have_no_slope(train, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    train("yolov8n-starnet.yaml", "run", epochs=1, val=False)
    with pytest.raises(KeyError):
        column(tmp_path / "run", "slope")
    assert "slope" not in caplog.text


def test_by_the_command_line(run_cli, coco8, tmp_path):
    options = {**QUICK, "data": coco8, "epochs": 3, "val": False, "project": tmp_path, "name": "run"}
    done = run_cli(["yolo", "train", f"model={NAME}", *(f"{key}={value}" for key, value in options.items())])
    assert (done.stdout + done.stderr).count("slope 0 to 1 over the first 1 of 3 epochs (linear)") == 1
    assert column(tmp_path / "run", "slope") == [0, 1, 1]


def test_a_network_by_name_rises_too(train):
    seen = train("yolov8n-vanillanet_5.yaml", "run", epochs=3, val=False)
    assert [model for _, model, _ in seen] == [{0}, {1}, {1}]


def test_it_continues_on_resume(train, tmp_path):
    class Interrupt(Exception):
        pass

    def interrupt(trainer) -> None:
        if trainer.epoch == 1:
            raise Interrupt

    model = YOLO(NAME)
    model.add_callback("on_model_save", interrupt)
    with pytest.raises(Interrupt):
        train(model, "run", epochs=9)
    seen = train(tmp_path / "run" / "weights" / "last.pt", "run", resume=True)
    assert [epoch for epoch, *_ in seen] == list(range(2, 9))
    assert [next(iter(model)) for _, model, _ in seen] == pytest.approx([2 / 3, 1, 1, 1, 1, 1, 1])
    assert [model for _, model, _ in seen] == [average for *_, average in seen]


def test_a_finished_model_is_fine_tuned_at_slope_1(train, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    train(NAME, "first", epochs=3, val=False)
    best = tmp_path / "first" / "weights" / "last.pt"
    caplog.clear()
    assert [model for _, model, _ in train(best, "again", epochs=4, val=False)] == [{1}] * 4
    assert "slope 1, as after its deep training" in caplog.text
    assert [model for _, model, _ in train(NAME, "new", epochs=4, val=False, pretrained=str(best))] == [{1}] * 4


def test_an_unfinished_model_goes_on_from_where_it_stood(train, tmp_path):
    train(NAME, "first", epochs=6, val=False, save_period=1)
    middle = tmp_path / "first" / "weights" / "epoch1.pt"
    assert slopes(YOLO(NAME).load(middle).model) == {0.5}
    seen = train(middle, "again", epochs=12, val=False)
    assert [next(iter(model)) for _, model, _ in seen][:6] == [0.5, 0.5, 0.5, 0.75, 1, 1]


def test_published_weights_have_had_their_deep_training():
    network = VanillaNet((16, 24), (2,), num_classes=10)
    published = {key: value for key, value in network.state_dict().items() if not key.endswith("act_learn")}
    network.slope = 0.5
    network.load_state_dict(published)
    assert slopes(network) == {1.0}
    for pair in deep_convs(network):
        pair.raise_slope(0.0)
    assert slopes(network) == {1.0}


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_a_state_dict_carries_the_slope(value):
    model = DetectionModel(NAME, verbose=False)
    set_slope(model, value)
    fresh = DetectionModel(NAME, verbose=False)
    fresh.load(model)
    assert slopes(fresh) == {value}
    assert slopes(copy.deepcopy(model).half().float()) == {value}
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert slopes(torch.load(buffer, weights_only=False)) == {value}


def test_averaging_leaves_the_slope_alone():
    model = DetectionModel(NAME, verbose=False)
    set_slope(model, 0.4)
    average = ModelEMA(model)
    set_slope(model, 0.6)
    for pair in deep_convs(average.ema):
        pair.slope = 0.6
    average.update(model)
    fresh = DetectionModel(NAME, verbose=False)
    fresh.load(average.ema)
    assert slopes(fresh) == {0.6}


@pytest.mark.parametrize("value", [0.0, 0.6, 1.0])
def test_fusing_keeps_the_output_at_any_slope(value):
    model = DetectionModel(NAME, verbose=False).eval()
    randomise_batch_norm(model)
    set_slope(model, value)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(image)[0]
        model.fuse(verbose=False)
        torch.testing.assert_close(model(image)[0], expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(deep_convs(model)) is (value != 1)


@pytest.fixture(scope="module")
def half_way(tmp_path_factory) -> tuple[Path, Path]:
    """The best model of a training that ended before the slope was 1, which has learned something, and its data."""
    folder = tmp_path_factory.mktemp("half")
    shapes.draw(folder / "data", train=48, val=16)
    data = yaml.safe_load(configs.datasets()["shapes"].read_text(encoding="utf-8"))
    del data["download"]
    (folder / "data.yaml").write_text(yaml.safe_dump({**data, "path": str(folder / "data")}))
    shipped = yaml.safe_load(configs.find_model(Path(NAME)).read_text(encoding="utf-8"))
    (folder / NAME).write_text(yaml.safe_dump({**shipped, "deep_training": {"share": 1.0}}))
    options = {"epochs": 20, "imgsz": 96, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.005, "mosaic": 0}
    YOLO(folder / NAME).train(
        **{**QUICK, **options}, data=str(folder / "data.yaml"), warmup_epochs=0, project=str(folder), name="run", seed=0
    )
    return folder / "run" / "weights" / "best.pt", folder / "data.yaml"


def test_an_unfinished_model_validates_alike_fused_and_not(half_way, tmp_path, monkeypatch):
    best, data = half_way
    assert 0 < max(slopes(YOLO(best).model)) < 1

    def validate() -> dict[str, float]:
        options = {**QUICK, "imgsz": 96, "project": str(tmp_path), "name": "val"}
        return YOLO(best).val(data=str(data), **options).results_dict

    fused = validate()
    with monkeypatch.context() as patch:
        patch.setattr(BaseModel, "fuse", lambda self, *args, **kwargs: self)
        unfused = validate()
    assert fused["metrics/mAP50-95(B)"] > 0.01
    assert fused == pytest.approx(unfused, rel=1e-3)


def test_resetting_callbacks_keeps_the_schedule(train):
    model = YOLO(NAME)
    model.reset_callbacks()
    assert [slopes for _, slopes, _ in train(model, "run", epochs=3, val=False)] == [{0}, {1}, {1}]


def test_a_compiled_model_is_compiled_three_times_at_most():
    from torch._dynamo.testing import CompileCounter

    graphs = CompileCounter()
    # In training; in double precision, since BatchNorm over few pixels magnifies what rounding makes of another layout.
    model = DetectionModel(NAME, verbose=False).double()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    image = torch.rand(2, 3, 64, 64, dtype=torch.double)
    for epoch in range(12):
        set_slope(model, DeepTraining().slope(epoch, 30))
        torch.testing.assert_close(compiled(image)["scores"], model(image)["scores"])
    assert graphs.frame_count == 3  # at 0, in between, at 1


def _worker(rank: int, store: str, found) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = DetectionModel(NAME, verbose=False)
    trainer = SimpleNamespace(
        model=nn.parallel.DistributedDataParallel(model),
        ema=ModelEMA(model) if rank == 0 else None,
        epochs=6,
        start_epoch=0,
    )
    told = []
    for trainer.epoch in range(6):
        for function in get_default_callbacks()["on_train_epoch_start"]:
            function(trainer)
        maps = trainer.model(torch.rand(2, 3, 64, 64))
        (maps["scores"].sum() + maps["boxes"].sum()).backward()
        told.append([sorted(slopes(model)), sorted(slopes(trainer.ema.ema)) if trainer.ema else None])
    found[rank] = told
    torch.distributed.destroy_process_group()


def test_every_process_of_a_distributed_training_has_the_same_slope(tmp_path):
    with multiprocessing.Manager() as manager:
        found = manager.dict()
        multiprocessing.spawn(_worker, args=(str(tmp_path / "store"), found), nprocs=2)
        ranks = dict(found)
    expected = [[0], [0.5], [1], [1], [1], [1]]
    assert [model for model, _ in ranks[0]] == [model for model, _ in ranks[1]] == expected
    assert [average for _, average in ranks[0]] == expected
