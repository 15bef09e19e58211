"""Fine-tuning: a backbone that is frozen at first and learns more slowly, drops branches, keeps its statistics."""

import copy
import pickle
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import yaml
from conftest import randomise_batch_norm, run
from torch import nn, optim
from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER, ROOT

from yolo_backbones import compose, configs, write_yaml
from yolo_backbones.align import align
from yolo_backbones.seam.fine_tuning import FineTuning, slow_down

QUICK = {
    "imgsz": 64,
    "batch": 4,
    "nbs": 4,
    "workers": 0,
    "plots": False,
    "device": "cpu",
    "verbose": False,
    "val": False,
}
HOLDS_STATISTICS = hasattr(BaseTrainer, "_model_train")  # of frozen rows' BatchNorms; releases before do not
STOCK = ROOT / "cfg" / "models" / "v8" / "yolov8.yaml"
SCRIPT = Path(__file__).with_name("two_processes.py")
try:
    from ultralytics.optim import MuSGD
except ImportError:  # older releases
    MUSGD = []
else:
    MUSGD = ["MuSGD"]


@pytest.fixture
def config(tmp_path):
    """Writes a model's YAML with options of fine-tuning."""

    def write(name: str = "yolov8n-starnet", **options) -> Path:
        file = tmp_path / f"{name}.yaml"
        shipped = STOCK if name == "yolov8n" else configs.find_model(Path(file.name))
        said = yaml.safe_dump(options) if options else ""
        file.write_text(f"{shipped.read_text(encoding='utf-8')}\n{said}", encoding="utf-8")
        return file

    return write


class Seen:
    """What a training does, as its own callbacks see it."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.rates: list[dict[str, float]] = []  # of each step, by parameter
        self.frozen: list[set[int]] = []  # rows whose parameters want no gradient, in each epoch
        self.still: list[set[int]] = []  # rows whose BatchNorms keep their statistics
        self.trainer = None

    def epoch_start(self, trainer) -> None:
        self.trainer = trainer
        if not self.epochs:
            names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
            trainer.optimizer.register_step_pre_hook(
                lambda optimizer, *_: self.rates.append(
                    {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
                )
            )
        self.epochs.append(trainer.epoch)

    def epoch_end(self, trainer) -> None:
        frozen, still = set(), set()
        for i, row in enumerate(trainer.model.model[:-1]):
            wanted = {parameter.requires_grad for parameter in row.parameters()}
            assert len(wanted) <= 1
            modes = {module.training for module in row.modules() if isinstance(module, nn.BatchNorm2d)}
            assert len(modes) <= 1
            frozen |= {i} if wanted == {False} else set()
            still |= {i} if modes == {False} else set()
        self.frozen.append(frozen)
        self.still.append(still if HOLDS_STATISTICS else frozen)


@pytest.fixture
def train(few_shapes, tmp_path):
    def start(model: YOLO | str | Path, folder: str = "run", **options) -> Seen:
        model, seen = model if isinstance(model, YOLO) else YOLO(model), Seen()
        model.add_callback("on_train_epoch_start", seen.epoch_start)
        model.add_callback("on_train_epoch_end", seen.epoch_end)
        model.train(**{"data": str(few_shapes), "project": str(tmp_path), "name": folder, **QUICK, **options})
        return seen

    return start


def weights(trainer) -> dict[str, torch.Tensor]:
    found = trainer.model.state_dict() if HOLDS_STATISTICS else dict(trainer.model.named_parameters())
    return {name: value.detach().clone() for name, value in found.items()}


def rows_with_parameters(model: str | Path, rows: range) -> set[int]:
    return {i for i in rows if list(DetectionModel(str(model), verbose=False).model[i].parameters())}


# ---- options ----


@pytest.mark.parametrize("name", ["yolov8n-starnet", "yolov8n"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze_epoch": 0}, "unfreeze_epoch: 0, where a whole number of epochs from 1 on belongs"),
        ({"unfreeze_epoch": 2.0}, "unfreeze_epoch: 2.0, where a whole number of epochs"),
        ({"unfreeze_epoch": True}, "unfreeze_epoch: True, where a whole number of epochs"),
        ({"unfreeze_epoch": "half"}, "unfreeze_epoch: 'half', where a whole number of epochs"),
        ({"backbone_lr": 0}, "backbone_lr: 0, where a number above 0 belongs, such as 0.1"),
        ({"backbone_lr": -0.1}, "backbone_lr: -0.1, where a number above 0"),
        ({"backbone_lr": float("inf")}, "backbone_lr: inf, where a number above 0"),
        ({"backbone_lr": False}, "backbone_lr: False, where a number above 0"),
        ({"backbone_lr": "slow"}, "backbone_lr: 'slow', where a number above 0"),
        ({"backbone_lr": None}, "backbone_lr: None, where a number above 0"),
    ],
)
def test_wrong_values_are_refused_when_the_model_is_built(name, options, message, config):
    with pytest.raises(ValueError, match=f"the model's YAML has {message}"):
        YOLO(config(name, **options))
    plain = yaml.safe_load(config(name).read_text())
    with pytest.raises(ValueError, match=f"the model's YAML has {message}"):
        DetectionModel({**plain, **options, "scale": "n"}, verbose=False)


def test_without_the_package_the_options_are_ignored(config, run_cli):
    code = f"from ultralytics import YOLO; YOLO({str(config('yolov8n', backbone_lr=0.1, unfreeze_epoch=1))!r})"
    run_cli(["python", "-c", code], env={"YOLO_BACKBONES_DISABLE": "1"})


# ---- learning rate ----


OPTIMIZERS = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", *MUSGD]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_an_optimizer_with_further_groups(name):
    def build(*groups: dict) -> optim.Optimizer:
        options = {"momentum": 0.9, "nesterov": True} if name in {"SGD", "MuSGD"} else {}
        muon = {"use_muon": True} if name == "MuSGD" else {}
        kind = MuSGD if name == "MuSGD" else getattr(optim, name)
        return kind([{**group, **muon} for group in groups], lr=0.1, weight_decay=0.01, **options)

    def network() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))

    ours, theirs = network(), network()
    one = build({"params": [*ours[:2].parameters()]}, {"params": [*ours[2].parameters()], "lr": 0.3})
    slow_down(one, [*ours[0].parameters(), *ours[2].parameters()], FineTuning(backbone_lr=0.5))
    other = build(
        {"params": [*theirs[1].parameters()]},
        {"params": [*theirs[0].parameters()], "lr": 0.05},
        {"params": [*theirs[2].parameters()], "lr": 0.15},
    )
    for step in range(3):
        image = torch.randn(4, 8)
        for model, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            model(image).square().sum().backward()
            optimizer.step()
        if step == 1:  # as where a training is resumed
            one.load_state_dict(one.state_dict())
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted)
    assert [len(group["params"]) for group in one.param_groups] == [2, 1]
    assert [group["lr"] for group in one.param_groups] == [0.1, 0.3]


@pytest.mark.parametrize("overflow", [False, True])
def test_a_scaled_step_of_a_fused_optimizer(overflow):
    """As Ultralytics takes it on a GPU: the gradients are divided, or the step left out, in the kernel."""
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    optimizer = optim.AdamW(parameters, lr=0.1, weight_decay=0, fused=True)
    slow_down(optimizer, parameters[:1], FineTuning(backbone_lr=0.5))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for _ in range(2):
        scaler.scale(sum(parameter.sum() for parameter in parameters)).backward()
        if overflow:
            parameters[1].grad.fill_(torch.inf)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    moved = [1 - parameter.detach() for parameter in parameters]
    for got, wanted in zip(moved, [0, 0] if overflow else [0.1, 0.2], strict=True):
        torch.testing.assert_close(got, torch.full((2,), float(wanted)))


def test_a_step_that_fails_leaves_the_groups_for_the_next():
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    optimizer = optim.SGD(parameters, lr=0.1)
    slow_down(optimizer, parameters[:1], FineTuning(backbone_lr=0.5))

    def fail() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(fail)
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(parameters[0], torch.full((2,), 0.95))
    assert torch.equal(parameters[1], torch.full((2,), 0.9))
    assert [group["params"] for group in optimizer.param_groups] == [parameters]


@pytest.mark.parametrize("optimizer", ["SGD", "auto", *MUSGD])
def test_each_step_has_stocks_rates_times_the_backbones(optimizer, train, config):
    """In the warm-up as well, that of the biases included, which begins high."""
    options = {"optimizer": optimizer, "epochs": 3, "warmup_epochs": 2}
    plain = train(config(), "plain", **options)
    slow = train(config(backbone_lr=0.1), "slow", **options)
    assert len(plain.rates) == len(slow.rates) >= 5
    backbone = tuple(f"model.{i}." for i in range(10))
    for before, now in zip(plain.rates, slow.rates):
        assert before.keys() == now.keys()
        for name, rate in before.items():
            assert now[name] == pytest.approx(rate * (0.1 if name.startswith(backbone) else 1), abs=1e-12), name
    assert len({rate for step in plain.rates for rate in step.values()}) > 2  # a warm-up
    assert len(plain.trainer.optimizer.param_groups) == len(slow.trainer.optimizer.param_groups)


def test_at_1_the_training_is_the_same_bit_for_bit(train, config):
    plain = train(config(), "plain", epochs=2, seed=1)
    same = train(config(backbone_lr=1.0), "same", epochs=2, seed=1)
    for name, value in weights(plain.trainer).items():
        assert torch.equal(weights(same.trainer)[name], value), name


@pytest.mark.parametrize(("model", "rows"), [("yolov8n", 10), ("yolov8n-resnet18", 1), ("yolov8n-starnet_s1", 1)])
def test_stock_and_published_networks_have_a_backbone_too(model, rows, train, config, tmp_path):
    if model == "yolov8n":
        file = config(model, backbone_lr=0.1)
    else:
        file = tmp_path / f"{model}.yaml"
        file.write_text(write_yaml.dumps(compose(*model.split("-")) | {"backbone_lr": 0.1}))
    seen = train(file, epochs=1, warmup_epochs=0)
    rates = defaultdict(set)
    for name, rate in seen.rates[0].items():
        rates[int(name.split(".")[1]) < rows].add(rate)
    assert len(rates[True]) == len(rates[False]) == 1
    assert max(rates[True]) == pytest.approx(0.1 * max(rates[False]))


# ---- freezing ----


@pytest.mark.parametrize("model", ["yolov8n-starnet", "yolov8n"])
def test_the_backbone_is_frozen_and_then_learns(model, train, config):
    file = config(model, unfreeze_epoch=2)
    held = rows_with_parameters(file, range(10))
    model, start = YOLO(file), {}
    model.add_callback("on_train_start", lambda trainer: start.update(weights(trainer)))

    def compare(trainer) -> None:
        now = weights(trainer)
        kept = {int(name.split(".")[1]) for name, value in start.items() if torch.equal(now[name], value)}
        moved = {int(name.split(".")[1]) for name, value in start.items() if not torch.equal(now[name], value)}
        assert (held <= kept - moved) is (trainer.epoch < 2)
        assert moved >= {12, 15, 22} | (set() if trainer.epoch < 2 else held)

    model.add_callback("on_train_epoch_end", compare)
    seen = train(model, epochs=3, weight_decay=0.1)
    assert seen.frozen == seen.still == [held, held, set()]


@pytest.mark.parametrize(("freeze", "rows"), [(3, {0, 1, 2}), ([0, 22], {0}), ([], set()), (0, set())])
def test_what_freeze_names_is_freed(freeze, rows, train, config):
    seen = train(config(unfreeze_epoch=1), epochs=2, freeze=freeze)
    assert seen.frozen == seen.still == [rows, set()]
    head = dict(seen.trainer.model.model[22].named_parameters())
    assert {name for name, parameter in head.items() if not parameter.requires_grad} == {"dfl.conv.weight"}
    assert seen.trainer.args.freeze == freeze


def test_a_published_network_alone_is_frozen(train, tmp_path):
    file = tmp_path / "yolov8n-mine.yaml"
    file.write_text(write_yaml.dumps(compose("yolov8n", "starnet_s1") | {"unfreeze_epoch": 1}))
    seen = train(file, epochs=2)
    assert seen.frozen == [{0}, set()]


class Stop(Exception):
    pass


def stopped_after(epoch: int, model: Path) -> YOLO:
    def stop(trainer) -> None:
        if trainer.epoch == epoch:
            raise Stop

    model = YOLO(model)
    model.add_callback("on_model_save", stop)
    return model


@pytest.mark.parametrize("freeze", [None, 10])
@pytest.mark.parametrize("stop", [0, 2])
def test_resuming_goes_on_before_and_after_the_epoch(stop, freeze, train, config, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    file = config(unfreeze_epoch=2, backbone_lr=0.5)
    held = rows_with_parameters(file, range(10))
    with pytest.raises(Stop):
        train(stopped_after(stop, file), epochs=4, warmup_epochs=0, freeze=freeze)
    caplog.clear()
    seen = train(tmp_path / "run" / "weights" / "last.pt", resume=True)
    assert seen.epochs == list(range(stop + 1, 4))
    assert seen.frozen == seen.still == [held if epoch < 2 else set() for epoch in seen.epochs]
    last = seen.rates[-1]
    assert last["model.0.conv.weight"] == pytest.approx(0.5 * last["model.12.cv1.conv.weight"])
    said = "rows 0 to 9 frozen up to epoch 2 of 4" if stop < 2 else "rows 0 to 9 free since epoch 3 of 4"
    assert f"Fine-tuning: {said}" in caplog.text


def test_a_line_says_what_is_done(train, config, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    train(config(unfreeze_epoch=1, backbone_lr=0.1), epochs=2)
    records = {id(record): record.getMessage() for record in caplog.records}  # each is there twice
    assert [message for message in records.values() if message.startswith("Fine-tuning")] == [
        "Fine-tuning: rows 0 to 9 frozen up to epoch 1 of 2 (unfreeze_epoch: 1); the backbone, rows 0 to 9, "
        "learns at 0.1 times the rate of the others",
        "Fine-tuning: rows 0 to 9 free from epoch 2 on",
    ]
    caplog.clear()
    train(config(unfreeze_epoch=5), epochs=1)
    assert "rows 0 to 9 frozen up to epoch 1 of 1 (unfreeze_epoch: 5)" in caplog.text
    caplog.clear()
    train(config(), epochs=1)
    assert "Fine-tuning" not in caplog.text


def test_a_checkpoint_carries_the_options(train, config, tmp_path):
    file = config(unfreeze_epoch=1, backbone_lr=0.1)
    held = rows_with_parameters(file, range(10))
    train(file, "first", epochs=1)
    last = YOLO(tmp_path / "first" / "weights" / "last.pt")
    assert (last.model.yaml["unfreeze_epoch"], last.model.yaml["backbone_lr"]) == (1, 0.1)
    seen = train(last, "second", epochs=2, warmup_epochs=0)
    assert seen.frozen == [held, set()]
    assert seen.rates[0]["model.0.conv.weight"] == pytest.approx(0.1 * seen.rates[0]["model.12.cv1.conv.weight"])


# ---- several processes, other trainers ----


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [None, 10])
def test_two_processes_learn_what_one_does(freeze, config, few_shapes, tmp_path):
    file = config(unfreeze_epoch=1, backbone_lr=0.5)
    given = [] if freeze is None else ["--freeze", str(freeze)]
    run([sys.executable, SCRIPT, file, few_shapes, tmp_path, *given], tmp_path, {"OMP_NUM_THREADS": "1"})
    one, first, second = (torch.load(tmp_path / f"of{name}.pt") for name in ("1-0", "2-0", "2-1"))
    start = one["start"]
    assert any(not torch.equal(start[name], value) for name, value in one["model"].items() if ".0.conv" in name)
    for found in (first, second):
        assert found["frozen"] == one["frozen"] == [True, False, False]
        for name, value in one["model"].items():
            within = 1e-5 * value.detach().abs().max().item()
            torch.testing.assert_close(found["model"][name], value, rtol=1e-5, atol=within, msg=name)


@pytest.mark.slow
def test_an_alignment_keeps_the_options_for_later(config, few_shapes, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    teacher = tmp_path / "teacher.pt"
    YOLO("yolov8n.yaml").save(teacher)
    images = few_shapes.parent / "shapes" / "images" / "train"
    fast = {name: QUICK[name] for name in ("imgsz", "batch", "workers", "plots", "device")}
    align(
        str(config(unfreeze_epoch=1, backbone_lr=0.1)), str(teacher), images, tmp_path / "out.pt", tmp_path / "run",
        arguments={**fast, "epochs": 2},
    )  # fmt: skip
    assert "unexplained of the teacher's maps" in caplog.text
    assert "Fine-tuning" not in caplog.text
    ours = YOLO(tmp_path / "out.pt").model
    assert (ours.yaml["unfreeze_epoch"], ours.yaml["backbone_lr"]) == (1, 0.1)


@pytest.mark.slow
@pytest.mark.skipif("distill_model" not in DEFAULT_CFG_DICT, reason="this Ultralytics has no distill_model")
def test_a_student_is_frozen_beside_its_teacher(config, few_shapes, tmp_path):
    teacher = tmp_path / "teacher.pt"
    YOLO("yolov8n.yaml").save(teacher)
    model, wanted = YOLO(config(unfreeze_epoch=1, backbone_lr=0.5)), []

    def note(trainer) -> None:
        both = trainer.model
        assert not any(parameter.requires_grad for parameter in both.teacher_model.parameters())
        wanted.append(next(both.student_model.model[0].parameters()).requires_grad)

    model.add_callback("on_train_batch_end", note)
    options = {**QUICK, "data": str(few_shapes), "project": str(tmp_path), "name": "run", "epochs": 2}
    model.train(distill_model=str(teacher), **options)
    assert wanted == [False, False, True, True]


# ---- options of a network's row ----


def dropping(model: nn.Module) -> list[float]:
    """Return the rates of the layers that drop a branch, in order."""
    kinds = {"DropPath": "drop_prob", "StochasticDepth": "p"}
    return [getattr(layer, kinds[type(layer).__name__]) for layer in model.modules() if type(layer).__name__ in kinds]


@pytest.mark.parametrize("name", ["starnet_s1", "fasternet_t0", "lsknet_t", "resnet18", "convnext_atto"])
def test_drop_path_is_the_rate_of_the_last_block(name):
    model = DetectionModel(compose("yolov8n", name, drop_path=0.25), verbose=False)
    rates = dropping(model)
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.25)
    randomise_batch_norm(model)  # of ResNet's branches, the last begins at 0
    torch.manual_seed(0)
    image, body = torch.rand(4, 3, 64, 64), model.model[0].train()
    assert not torch.equal(body(image)[-1], body(image)[-1])
    assert not dropping(DetectionModel(compose("yolov8n", name, drop_path=0.0), verbose=False))


@pytest.mark.parametrize("name", ["vanillanet_5", "sknet_50", "vgg11", "densenet121"])
def test_a_network_without_stochastic_depth_says_so(name):
    message = f"{name}: drop_path=0.1 cannot be had, since its blocks have no stochastic depth; leave it out"
    with pytest.raises(ValueError, match=message):
        compose("yolov8n", name, drop_path=0.1)
    row = compose("yolov8n", name)
    row["backbone"][0][3][2]["drop_path"] = 0.1
    with pytest.raises(ValueError, match=f"row 0: .*{message}"):
        DetectionModel(row, verbose=False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("starnet", {"drop_path": 0.1}, "starnet is a family, .* write drop_path into those that take it"),
        ("starnet", {"frozen_bn": True}, "starnet is a family, without published statistics"),
        ("starnet_s1", {"drop_path": 1}, "drop_path=1 has to be a number from 0 to below 1"),
    ],
)
def test_what_cannot_be_composed_says_so(name, options, message):
    with pytest.raises(ValueError, match=message):
        compose("yolov8n", name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, "Network: drop_path=1.0 has to be a number from 0 to below 1"),
        ({"drop_path": "much"}, "Network: drop_path='much' has to be a number from 0 to below 1"),
        ({"frozen_bn": "yes"}, "Network: frozen_bn='yes' has to be True or False"),
    ],
)
def test_wrong_options_of_a_row_are_refused(options, message):
    config = compose("yolov8n", "starnet_s1")
    config["backbone"][0][3][2].update(options)
    with pytest.raises(ValueError, match=f"row 0: {message}"):
        DetectionModel(config, verbose=False)


def test_a_network_without_batch_norm_has_none_to_freeze():
    """Those of the layers that make further maps of a ViT's are new."""
    config = compose("yolov8n", "vit_tiny_patch16_224", frozen_bn=True)
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 has no BatchNorm .* leave frozen_bn out"):
        DetectionModel(config, verbose=False)


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["starnet_s1", "vanillanet_5", "sknet_50", "resnet18", "mobilenetv3_small_050"])
def test_frozen_batch_norms_do_not_learn_and_fuse(name):
    model = DetectionModel(compose("yolov8n", name, frozen_bn=True), verbose=False)
    randomise_batch_norm(model)
    twins = [model.train(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    plain = DetectionModel(compose("yolov8n", name), verbose=False)
    assert model.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    image = torch.rand(2, 3, 64, 64)
    for twin in twins:
        inside, outside = norms(twin.model[0]), norms(twin.model[1:])
        assert {norm.training for norm in inside} == {False}
        assert {norm.training for norm in outside} == {True}
        assert not [name for norm in inside for name, _ in norm.named_parameters()]
        before = copy.deepcopy([norm.state_dict() for norm in inside])
        maps = twin.model[0](image)
        sum(map.square().mean() for map in maps).backward()
        assert all(parameter.grad is not None for parameter in twin.model[0].parameters())
        for norm, kept in zip(inside, before):
            for key, value in norm.state_dict().items():
                assert torch.equal(value, kept[key])
        twin.eval()
        with torch.no_grad():
            expected = plain.eval()(image)[0]
            torch.testing.assert_close(twin(image)[0], expected)
            twin.fuse(verbose=False)
            within = 1e-4 * expected.abs().max().item()
            torch.testing.assert_close(twin(image)[0], expected, rtol=1e-4, atol=within)
        left = len(norms(twin))
        assert left == len(norms(DetectionModel(compose("yolov8n", name), verbose=False).eval().fuse(verbose=False)))


def test_frozen_batch_norms_stay_through_a_training_and_its_checkpoint(train, tmp_path, run_cli):
    file = tmp_path / "yolov8n-mine.yaml"
    file.write_text(write_yaml.dumps(compose("yolov8n", "starnet_s1", drop_path=0.1, frozen_bn=True)))
    model, start = YOLO(file), {}

    def note(trainer) -> None:
        assert {norm.training for norm in norms(trainer.model.model[0])} == {False}
        start.update(weights(trainer))

    model.add_callback("on_train_batch_end", note)
    seen = train(model, epochs=1, weight_decay=0.1)
    fresh = DetectionModel(str(file), verbose=False).model[0]
    for found in (seen.trainer.model.model[0], seen.trainer.ema.ema.model[0]):
        for norm, new in zip(norms(found), norms(fresh), strict=True):
            torch.testing.assert_close(dict(norm.named_buffers()), dict(new.named_buffers()))
    last = tmp_path / "run" / "weights" / "last.pt"
    code = f"""
from ultralytics import YOLO
model = YOLO({str(last)!r})
network = model.model.model[0].train()
norms = [m for m in network.modules() if type(m).__name__ == "BatchNorm2d"]
assert norms and not any(m.training or list(m.parameters()) for m in norms)
assert model.model.yaml["backbone"][0][3][2]["drop_path"] == 0.1
"""
    run_cli(["python", "-c", code], env={"ULTRALYTICS_SAFE_LOAD": "1"})
    again = train(last, "again", epochs=1)
    assert {norm.training for norm in norms(again.trainer.model.model[0])} == {False}
    assert dropping(again.trainer.model)[-1] == pytest.approx(0.1)


def test_new_writes_the_options_into_the_row(tmp_path, monkeypatch):
    from yolo_backbones.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["new", "yolov8n", "starnet_s1", "-o", "mine.yaml", "--drop-path", "0.1", "--frozen-bn"])
    assert end.value.code == 0
    written = (tmp_path / "mine.yaml").read_text()
    assert "new yolov8n starnet_s1 --frozen-bn --drop-path 0.1" in written
    options = yaml.safe_load(written)["backbone"][0][3][2]
    assert options == {"strides": [8, 16, 32], "drop_path": 0.1, "frozen_bn": True}
