"""Blocks of users' own that keep their channels or read several rows, and images whose channels go to two backbones."""

import copy
import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ultralytics.nn.tasks as tasks
import yaml
from conftest import ROOT
from torch import nn
from ultralytics.nn.modules import CBAM
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import environment, register, registry
from yolo_backbones.backbones.chain import Chain
from yolo_backbones.contracts import CONTRACTS

QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "seed": 0}
STOCK = yaml.safe_load((Path(tasks.__file__).parents[1] / "cfg/models/v8/yolov8.yaml").read_text())


class SEBlock(nn.Module):
    def __init__(self, channel, reduction=16):
        super().__init__()
        self.channel, self.reduction = channel, reduction
        hidden = max(channel // reduction, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channel, hidden, 1), nn.Conv2d(hidden, channel, 1), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.gate(x)


class SimAM(nn.Module):
    def __init__(self, e_lambda=1e-4):
        super().__init__()
        self.e_lambda = e_lambda

    def forward(self, x):
        return x * torch.sigmoid((x - x.mean((2, 3), keepdim=True)) ** 2 + self.e_lambda)


class Summed(nn.Module):
    def __init__(self, channels, bias=True):
        super().__init__()
        self.channels = channels
        self.project = nn.ModuleList(nn.Conv2d(c, channels[0], 1, bias=bias) for c in channels)

    def forward(self, xs):
        return sum(project(x) for project, x in zip(self.project, xs))


class WeightedConcat(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.weights = nn.Parameter(torch.ones(len(channels)))

    def forward(self, xs):
        return torch.cat([weight * x for weight, x in zip(self.weights, xs)], 1)


class Fused(nn.Module):
    def __init__(self, channels, c2, k=1):
        super().__init__()
        self.channels, self.c2 = channels, c2
        self.project = nn.ModuleList(nn.Conv2d(c, c2, k, padding=k // 2) for c in channels)

    def forward(self, xs):
        return sum(project(x) for project, x in zip(self.project, xs))


@pytest.fixture
def theirs(scratch):
    register(SEBlock, like="CBAM")
    register(SimAM, like="Upsample")
    register(Summed, like="Add")
    register(WeightedConcat, like="Concat")
    register(Fused, like="Fuse")


def config(rows: dict[int, list], letter: str = "n") -> dict:
    """YOLOv8 with other rows in the place of some."""
    changed = copy.deepcopy(STOCK) | {"scale": letter, "yaml_file": f"yolov8{letter}-theirs.yaml"}
    for i, row in rows.items():
        part, k = ("backbone", i) if i < 10 else ("head", i - 10)
        changed[part][k] = copy.deepcopy(row)
    return changed


def layers(rows: dict[int, list], letter: str = "n") -> nn.Sequential:
    with torch.device("meta"):
        return tasks.parse_model(config(rows, letter), 3, verbose=False)[0]


def refused(rows: dict[int, list], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says) as error:
        DetectionModel(config(rows), verbose=False)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


# Signatures


def block(signature: str, name: str = "Theirs") -> type[nn.Module]:
    space = {"nn": nn, "__name__": "theirs"}
    exec(f"class {name}(nn.Module):\n def __init__(self, {signature}):\n  super().__init__()", space)
    return space[name]


FITTING = [
    ("channel, reduction=16", "CBAM"),
    ("c1, kernel_size=7", "CBAM"),
    ("channel, k_size=3", "CBAM"),
    ("channels, factor=8", "CBAM"),
    ("in_planes, ratio=16", "CBAM"),
    ("dim, num_heads=8, qkv_bias=False", "CBAM"),
    ("channel, reduction", "CBAM"),
    ("channel, *, reduction=16", "CBAM"),
    ("channel, reduction=16, out_channels=None", "CBAM"),
    ("*args, **kwargs", "CBAM"),
    ("e_lambda=1e-4", "Upsample"),
    ("", "Upsample"),
    ("scale_factor=2, mode='nearest'", "Upsample"),
    ("inp, oup, reduction=32", "Conv"),
    ("in_channels, out_channels, rate=4", "Conv"),
    ("in_planes, planes, stride=1", "Conv"),
    ("c1, c2=None, k=3", "Conv"),
    ("c1, c2, n=1, shortcut=True", "C2f"),
    ("*args, **kwargs", "Conv"),
    ("channels, act=True", "Add"),
    ("in_channels: list[int]", "Concat"),
    ("dims, c2, k=3", "Fuse"),
]
MISFITS = [
    ("channel, reduction=16", "Conv", "reduction is not the number of the output's channels; .*'CBAM' for attention"),
    ("channel, reduction", "Conv", "reduction is not the number .*'CBAM'"),
    ("channel, k_size=3", "Conv", "k_size is not the number .*'CBAM'"),
    ("c1, kernel_size=7", "Conv", "kernel_size is not the number .*'CBAM'"),
    ("channels, factor=8", "Conv", "factor is not the number .*'CBAM'"),
    ("channels, anything=8", "Conv", "anything is not the number .*'CBAM'"),
    ("e_lambda=1e-4", "Conv", "takes no c2; .*'Upsample' for a layer that takes no channels"),
    ("e_lambda=1e-4", "CBAM", "e_lambda is not the number of the input's channels; .*'Upsample'"),
    ("", "CBAM", "it takes no c1; .*'Upsample'"),
    ("inp, oup, reduction=32", "CBAM", "oup is the number of the output's channels, .*'Conv' for a layer with c2"),
    ("in_channels, out_channels, rate=4", "CBAM", "out_channels is the number .*'Conv'"),
    ("in_channels, out_channels=None, rate=4", "CBAM", "out_channels is the number .*'Conv'"),
    ("inplanes, planes", "CBAM", "planes is the number .*'Conv'"),
    ("nin, nout", "CBAM", "nout is the number .*'Conv'"),
    ("c1, c2, n=1", "CBAM", "c2 is the number .*'C2f' for a block that takes its repeats"),
    ("channel, reduction=16", "Upsample", "channel is a number of channels, .*'CBAM'"),
    ("inp, oup, reduction=32", "HGStem", "reduction is not the number of the output's channels; .*'Conv'"),
    ("*, channel, reduction=16", "CBAM", r"channel by keyword only, .*; change the signature to \(c1, \.\.\.\)"),
    ("channel, *, reduction", "CBAM", "it takes reduction by keyword only"),
    ("**kwargs", "CBAM", "it takes no c1"),
    ("channels, c2", "Add", "c2 is the number of the output's channels, .*'Fuse' for several inputs and c2 channels"),
    ("channels, k=3", "Fuse", "k is not the number of the output's channels; .*'Add' .*'Concat'"),
    ("channels: int", "Add", "channels is one number, where a list belongs"),
    ("channels: list[int], act=True", "CBAM", "channels is a list, where the channels of the one input .*'Add'"),
]


@pytest.mark.parametrize(("signature", "like"), FITTING)
def test_a_signature_that_fits(signature, like, scratch):
    cls = block(signature)
    assert register(cls, like=like) is cls


@pytest.mark.parametrize(("signature", "like", "says"), MISFITS)
def test_a_signature_that_does_not_fit_is_told_what_does(signature, like, says, scratch):
    with pytest.raises(ValueError, match=says) as error:
        register(block(signature), like=like)
    assert len(str(error.value).splitlines()) == 1 and "Theirs" not in registry.blocks()


def test_an_init_that_a_decorator_keeps_the_signature_of(scratch):
    def logged(init):
        @functools.wraps(init)
        def call(*args, **kwargs):
            init(*args, **kwargs)

        return call

    class Decorated(SEBlock):
        __init__ = logged(SEBlock.__init__)

    with pytest.raises(ValueError, match=r"takes \(channel, reduction\); reduction is not the number"):
        register(Decorated, like="Conv")
    register(Decorated, like="CBAM")
    assert layers({9: [-1, 1, "Decorated", [8]]})[9].reduction == 8


@dataclasses.dataclass(eq=False)
class Data(nn.Module):
    channel: int
    reduction: int = 16

    def __post_init__(self):
        super().__init__()

    def forward(self, x):
        return x


def test_a_dataclass(scratch):
    with pytest.raises(ValueError, match=r"it has no hash, .*write @dataclass\(eq=False\)"):
        register(dataclasses.make_dataclass("Equal", [("channel", int)], bases=(nn.Module,)), like="CBAM")
    register(Data, like="CBAM")
    assert layers({9: [-1, 1, "Data", [4]]})[9].channel == 256


class Scripted(torch.jit.ScriptModule):
    def __init__(self, channel):
        super().__init__()


@pytest.mark.parametrize(
    ("cls", "error", "says"),
    [
        (functools.partial(SEBlock, reduction=8), TypeError, "a block is a class; derive one whose __init__ fills in"),
        (torch.jit.script(nn.Identity()), TypeError, "pass the class itself"),
        (Scripted, ValueError, "checkpoints cannot hold TorchScript modules"),
    ],
    ids=["partial", "script", "ScriptModule"],
)
def test_what_is_no_class_or_cannot_be_stored(cls, error, says, scratch):
    with pytest.raises(error, match=says):
        register(cls, like="CBAM")


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_document_has_each_contract_as_it_is(name):
    contract = CONTRACTS[name]
    call, row = (f"({', '.join([*contract.given, '*args'])})", f"[{', '.join([*contract.row, '*args'])}]")
    assert f'| `"{name}"` | `{call}` | `{row}` |' in (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")


# Rows


@pytest.mark.parametrize("letter", "nsmlx")
def test_attention_gets_the_channels_of_the_row_it_reads_at_each_scale(letter, theirs):
    rows = {
        2: [-1, 1, "SEBlock", [16]],
        6: [4, 3, "SEBlock", []],
        7: [4, 1, "Conv", [64, 1, 1]],
        8: [6, 1, "SEBlock", []],
    }
    built, plain = layers(rows, letter), layers({}, letter)
    width = plain[1].conv.out_channels
    assert (built[2].channel, built[2].reduction) == (width, 16)
    assert built[3].conv.in_channels == width
    repeated = built[6] if isinstance(built[6], nn.Sequential) else [built[6]]
    assert len(repeated) == max(round(3 * STOCK["scales"][letter][0]), 1)
    # Row 6 reads row 4, and row 8 row 6, not the row before.
    assert {one.channel for one in repeated} == {built[8].channel} == {plain[4].cv2.conv.out_channels}


def test_the_printed_arguments_are_those_of_the_block(theirs, monkeypatch):
    said = []
    monkeypatch.setattr(tasks.LOGGER, "info", said.append)
    with torch.device("meta"):
        tasks.parse_model(config({9: [-1, 1, "SEBlock", [8]]}), 3, verbose=True)
    (line,) = [line for line in said if "SEBlock" in line]
    assert line.split("SEBlock")[1].strip() == "[256, 8]"


def test_a_layer_of_ultralytics_that_rows_do_not_know(scratch):
    register(CBAM, like="CBAM")
    built = layers({9: [-1, 1, "CBAM", [3]]})
    assert type(built[9]) is CBAM and built[9].channel_attention.fc.in_channels == 256


def test_a_layer_without_channels(theirs):
    built = layers({9: [4, 1, "SimAM", [0.5]], 10: [-1, 1, "Conv", [64, 1, 1]]})
    assert built[9].e_lambda == 0.5
    assert built[10].conv.in_channels == 64


@pytest.mark.parametrize(
    ("row", "channels", "c2"),
    [
        ([[-1, 6], 1, "Summed", []], [256, 128], 256),
        ([[6, -1, 4], 1, "Summed", [False]], [128, 256, 64], 128),
        ([[-1, 6], 1, "WeightedConcat", []], [256, 128], 384),
        ([[-1, 6], 1, "Fused", [512, 3]], [256, 128], 128),
    ],
)
def test_a_fusion_gets_the_channels_of_each_input(row, channels, c2, theirs):
    built = layers({11: row, 12: [-1, 3, "C2f", [512]]})
    assert built[11].channels == channels and built[11].f == row[0] and type(built[11].f) is list
    assert built[12].cv1.conv.in_channels == c2


def test_a_fusion_in_a_model_gets_the_maps(theirs):
    model = DetectionModel(
        config(
            {11: [[-1, 6], 1, "Summed", []], 14: [[-1, 4], 1, "WeightedConcat", []], 17: [[-1, 12], 1, "Fused", [512]]}
        ),
        verbose=False,
    )
    assert model.stride.tolist() == [8, 16, 32]
    assert {4, 6, 12} <= set(model.save)
    assert model.yaml["head"][1] == [[-1, 6], 1, "Summed", []]  # as it was written
    kept = {}
    for i in (6, 10, 11):
        model.model[i].register_forward_hook(lambda layer, given, out: kept.update({layer.i: out}))
    model.eval()(torch.rand(1, 3, 64, 64))
    assert torch.equal(kept[11], model.model[11]([kept[10], kept[6]]))


MISTAKEN = [
    ({9: [-1, 1, "SEBlock", [1024]]}, r"row 9: SEBlock: reduction=1024 has to be at most the 256 channels of the row"),
    ({9: [-1, 1, "SEBlock", [16, 3]]}, r"row 9: SEBlock: the YAML row gives \[16, 3\], but it takes \[reduction=16\]"),
    ({9: [[-1, 4], 1, "SEBlock", []]}, r"row 9: SEBlock: from=\[-1, 4\] has to be one row"),
    ({9: [-1, "2", "SEBlock", []]}, "row 9: SEBlock: repeats='2' has to be a whole number"),
    ({9: [-1, 1, "Summed", []]}, r"row 9: Summed: from=-1 has to be a list of rows, such as \[-1, 6\]"),
    ({9: [[-1, 20], 1, "Summed", []]}, r"row 9: Summed: from=\[-1, 20\] has to be a row's number"),
    ({9: [[-1, 6], 2, "Summed", []]}, "row 9: Summed: the YAML row repeats it 2 times"),
    ({9: [[-1, 6], 1, "Fused", []]}, "row 9: Fused: the YAML row gives .*missing c2"),
    ({9: [[-1, 6], 1, "Fused", ["nc"]]}, "row 9: Fused: c2='nc' has to be a whole number"),
    ({9: [-1, 1, "Channels", [0, 300]]}, r"row 9: Channels: \[start, stop\]=\[0, 300\] has to lie in \[0, 256\]"),
    ({9: [-1, 1, "Channels", [5, 5]]}, r"row 9: Channels: \[start, stop\]=\[5, 5\] has to lie in"),
    ({9: [-1, 1, "Channels", [0, "x"]]}, "row 9: Channels: stop='x' has to be a whole number"),
    ({9: [-1, 1, "Channels", [-3, 5]]}, "row 9: Channels: start=-3 has to be a whole number, at least 0"),
    ({9: [-1, 1, "Channels", [0]]}, "row 9: Channels: the YAML row gives .*missing stop"),
    ({9: [-1, 2, "Channels", [0, 3]]}, "row 9: Channels: the YAML row repeats it 2 times"),
]


@pytest.mark.parametrize(("rows", "says"), MISTAKEN, ids=[says[:45] for _, says in MISTAKEN])
def test_a_mistaken_row(rows, says, theirs):
    refused(rows, says)


@pytest.mark.parametrize("row", [[-1, 1, "SEBlock", []], [[-1, -1], 1, "Summed", []], [-1, 1, "Channels", [0, 3]]])
def test_a_row_that_reads_a_network_is_told_to_pick_a_map(row, theirs):
    network = [-1, 1, "Network", ["starnet_s1", [48, 96, 192], {"strides": [8, 16, 32]}]]
    refused({0: network, 1: row}, rf"row 1: {row[2]}: it reads a row that gives several maps, .*FeatureMap")


def test_a_number_that_may_be_meant_as_channels_is_said_to_be_read_otherwise(theirs, monkeypatch):
    said = []
    monkeypatch.setattr("yolo_backbones.seam.row_channels.LOGGER.info", said.append)
    layers({9: [-1, 1, "SEBlock", [256]]})
    assert said == ["SEBlock: the row's 256 is read as reduction=256; its 256 channels come from the row it reads"]
    said.clear()
    layers({9: [-1, 1, "SEBlock", [32]]})
    assert not said


def test_a_chain_of_rows_knows_the_contracts(theirs):
    chain = Chain(3, [[1, "Conv", [16]], [2, "SEBlock", [4]], [1, "SimAM", []], [1, "Channels", [4, 12]]], [1, 3])
    assert chain.channels == (16, 8)
    assert [tuple(x.shape[1:]) for x in chain(torch.rand(1, 3, 8, 8))] == [(16, 8, 8), (8, 8, 8)]
    with pytest.raises(ValueError, match="Summed, which reads several rows"):
        Chain(3, [[1, "Summed", []]], [0])


# Other processes

FILE = """
import torch
from torch import nn
from yolo_backbones import register

@register(like="CBAM")
class Gate(nn.Module):
    def __init__(self, channel, reduction=16):
        super().__init__()
        self.conv = nn.Conv2d(channel, channel, 1, groups=channel // reduction)

    def forward(self, x):
        return x * self.conv(x).sigmoid()

@register(like="Add")
class Mean(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, channels[0], 1) for c in channels)

    def forward(self, xs):
        return sum(project(x) for project, x in zip(self.project, xs)) / len(xs)
"""
OPEN = """
import torch
from ultralytics import YOLO
model = YOLO("trained/weights/last.pt").model
print(type(model.model[9]).__module__, type(model.model[11]).__name__, type(model.model[11].f).__name__)
print(len(model.eval().float()(torch.rand(1, 3, 64, 64))))
"""


@pytest.fixture(scope="module")
def trained(few_shapes, run_cli, tmp_path_factory) -> Path:
    """A folder with own.py, yolov8n-own.yaml and trained/, a training of one epoch by the command line."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "own.py").write_text(FILE)
    written = config({9: [-1, 1, "Gate", [8]], 11: [[-1, 6], 1, "Mean", []]})
    (folder / "yolov8n-own.yaml").write_text(yaml.safe_dump({k: v for k, v in written.items() if k != "yaml_file"}))
    options = [f"{key}={value}" for key, value in {**QUICK, "project": folder, "name": "trained"}.items()]
    run_cli(
        ["yolo", "train", "model=yolov8n-own.yaml", f"data={few_shapes}", "epochs=1", *options],
        cwd=folder,
        env={environment.BLOCKS: "own.py"},
    )
    return folder


@pytest.mark.parametrize("safe", ["0", "1"])
def test_a_checkpoint_opens_in_a_fresh_process(trained, run_cli, safe):
    done = run_cli(["python", "-c", OPEN], cwd=trained, env={environment.BLOCKS: "own.py", environment.SAFE_LOAD: safe})
    assert done.stdout.split()[-4:] == ["own", "Mean", "list", "2"]


def test_a_checkpoint_is_trained_further(trained, few_shapes, run_cli):
    code = f"""
from ultralytics import YOLO
model = YOLO("trained/weights/last.pt")
model.train(data={str(few_shapes)!r}, epochs=1, project={str(trained)!r}, name="further", freeze=10, **{QUICK!r})
print(type(model.model.model[9]).__name__, model.trainer.model.model[9].conv.weight.requires_grad)
"""
    done = run_cli(["python", "-c", code], cwd=trained, env={environment.BLOCKS: "own.py"})
    assert done.stdout.split()[-2:] == ["Gate", "False"]


def test_a_multi_gpu_worker_knows_the_blocks(trained, few_shapes, tmp_path, monkeypatch):
    """The file that Ultralytics starts in each worker, run by a fresh Python that inherits the variable."""
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils.dist import generate_ddp_file

    monkeypatch.chdir(trained)
    options = {**QUICK, "model": "yolov8n-own.yaml", "data": str(few_shapes), "epochs": 1, "val": False}
    file = generate_ddp_file(DetectionTrainer(overrides={**options, "project": str(tmp_path)}))
    env = {**os.environ, "PYTHONPATH": str(ROOT), environment.BLOCKS: "own.py"}
    done = subprocess.run([sys.executable, file], cwd=trained, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.rglob("last.pt"))


def test_registering_names_the_file_for_child_processes(trained, scratch, monkeypatch):
    monkeypatch.syspath_prepend(str(trained))
    __import__("own")
    assert environment.blocks() == [str(trained / "own.py")]
    sys.modules.pop("own")
