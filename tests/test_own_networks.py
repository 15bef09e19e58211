"""Whole networks of the user's own, registered like="Network"."""

import copy
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_backbones import compose, environment, register
from yolo_backbones.backbones import find
from yolo_backbones.backbones.chain import Chain
from yolo_backbones.backbones.timm import backbone as timm_backbone
from yolo_backbones.contracts import CONTRACTS

QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "seed": 0}
# Rows behind the first, as tutorials count them: that one is rows 0 to 4.
REST = {
    "backbone": [[-1, 1, "SPPF", [1024, 5]]],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [-1, 3, "C2f", [512]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 3, "C2f", [256]],
        [-1, 1, "Conv", [256, 3, 2]],
        [[-1, 8], 1, "Concat", [1]],
        [-1, 3, "C2f", [512]],
        [-1, 1, "Conv", [512, 3, 2]],
        [[-1, 5], 1, "Concat", [1]],
        [-1, 3, "C2f", [1024]],
        [[11, 14, 17], 1, "Detect", ["nc"]],
    ],
}

SOURCE = """
    import torch
    from torch import nn

    from yolo_backbones import register


    def stage(c1, c2, s):
        return nn.Sequential(nn.Conv2d(c1, c2, 3, s, 1, bias=False), nn.BatchNorm2d(c2), nn.ReLU())


    class Inner(nn.Module):
        def __init__(self, c1, c2, depth):
            super().__init__()
            self.rows = nn.Sequential(stage(c1, c2, 2), *(stage(c2, c2, 1) for _ in range(depth - 1)))

        def forward(self, x):
            return self.rows(x)


    @register(like="Network")
    class TheirNet(nn.Module):
        def __init__(self, in_chans=3, embed_dim=8, depths=(1, 1, 1, 1), drop_path_rate=0.1, out_indices=(0, 1, 2, 3)):
            super().__init__()
            self.rates = [x.item() for x in torch.linspace(0, drop_path_rate, sum(depths))]  # not on the meta device
            self.stem = stage(in_chans, embed_dim, 2)
            widths = [embed_dim * 2**i for i in range(5)]
            self.stages = nn.ModuleList(map(Inner, widths, widths[1:], depths))
            self.out_indices = out_indices

        def forward(self, x):
            x = self.stem(x)
            maps = [x := stage(x) for stage in self.stages]
            return tuple(maps[i] for i in self.out_indices)
"""


@pytest.fixture
def their_net(scratch, tmp_path, monkeypatch):
    """A file of the user's, imported as `YOLO_BACKBONES_BLOCKS` has it done."""
    (tmp_path / "their_net.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("their_net", None)
    import their_net

    yield their_net.TheirNet
    sys.modules.pop("their_net", None)


def five_rows(args, **changes) -> dict:
    config = copy.deepcopy(REST) | {"nc": 80, "scales": {"n": [0.33, 0.25, 1024]}}
    config["backbone"].insert(0, [-1, 1, "TheirNet", args])
    return config | changes


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("yolov8n-TheirNet.yaml", [8, 16, 32], [32, 64, 128]),
        ("yolov8n-p2-TheirNet.yaml", [4, 8, 16, 32], [16, 32, 64, 128]),
        ("yolo11s-TheirNet-seg.yaml", [8, 16, 32], [32, 64, 128]),
        ("yolo11n-TheirNet-cls.yaml", "last", [128]),
        ("yolov8n-theirnet.yaml", [8, 16, 32], [32, 64, 128]),
    ],
)
def test_a_name(their_net, name, strides, channels):
    model = YOLO(name).model
    assert model.yaml["backbone"][0] == [-1, 1, "Network", ["TheirNet", channels, {"strides": strides}]]
    net = model.model[0].body.net
    assert type(net) is their_net and next(net.parameters()).device.type == "cpu"
    model.eval()(torch.rand(1, 3, 64, 96))


def test_a_row_counts_as_five(their_net):
    model = DetectionModel(five_rows([16, [1, 2, 2, 1]]), verbose=False)
    assert [row.type.rpartition(".")[2] for row in model.model[:6]] == ["Network", *["FeatureMap"] * 4, "SPPF"]
    assert model.model[0].body.channels == (32, 64, 128, 256)
    net, expected = model.model[0].body.net, their_net(3, 16, (1, 2, 2, 1))
    assert [p.shape for p in net.parameters()] == [p.shape for p in expected.parameters()]
    image = torch.rand(1, 3, 64, 96)
    expected.load_state_dict(net.state_dict())
    for found, wanted in zip(model.eval().model[0](image), expected.eval()(image)):
        torch.testing.assert_close(found, wanted)  # the image as it is


def test_other_channels(their_net):
    model = DetectionModel(five_rows([], channels=6), ch=6, verbose=False)
    assert model.model[0].body.net.stem[0].in_channels == 6
    model.eval()(torch.rand(1, 6, 64, 64))


def test_maps_that_it_lacks_are_made(their_net):
    model = DetectionModel(five_rows([8, [1, 1, 1, 1], 0.1, [2, 3]]), verbose=False)  # strides 16 and 32
    options = model.model[0].body
    assert options.channels == (64, 64, 128)
    assert [tuple(x.shape[2:]) for x in options(torch.rand(1, 3, 64, 96))] == [(8, 12), (4, 6), (2, 3)]


def test_it_trains_and_its_checkpoint_opens_elsewhere(their_net, few_shapes, tmp_path):
    yolo = YOLO("yolov8n-TheirNet.yaml")
    yolo.train(data=str(few_shapes), epochs=1, project=str(tmp_path), name="run", **QUICK)
    best = tmp_path / "run" / "weights" / "best.pt"
    script = f"from ultralytics import YOLO; YOLO({str(best)!r}).val(data={str(few_shapes)!r}, imgsz=64, plots=False)"
    for safe in ("0", "1"):
        env = os.environ | {environment.BLOCKS: str(tmp_path / "their_net.py"), "ULTRALYTICS_SAFE_LOAD": safe}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]


def test_its_code_may_be_in_another_file(tmp_path, run_cli):
    (tmp_path / "papers_code.py").write_text(textwrap.dedent(SOURCE).replace('@register(like="Network")\n', ""))
    (tmp_path / "own_blocks.py").write_text(
        textwrap.dedent(
            """
            from papers_code import TheirNet
            from torch import nn
            from yolo_backbones import register


            @register(like="Network")
            class Wrapped(nn.Module):
                def __init__(self, c1):
                    super().__init__()
                    self.net = TheirNet(in_chans=c1)

                def forward(self, x):
                    return self.net(x)
            """
        )
    )
    files = os.pathsep.join(str(tmp_path / name) for name in ("papers_code.py", "own_blocks.py"))
    save = f"from ultralytics import YOLO; YOLO('yolov8n-Wrapped.yaml').save({str(tmp_path / 'x.pt')!r})"
    run_cli(["python", "-c", save], env={environment.BLOCKS: files})
    load = f"from ultralytics import YOLO; print(type(YOLO({str(tmp_path / 'x.pt')!r}).model.model[0].body.net.net))"
    for safe in ("0", "1"):
        done = run_cli(["python", "-c", load], env={environment.BLOCKS: files, "ULTRALYTICS_SAFE_LOAD": safe})
        assert "papers_code.TheirNet" in done.stdout


def test_weights_from_a_file(their_net, tmp_path):
    torch.manual_seed(1)
    theirs = their_net()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    config = compose("yolov8n", "TheirNet", weights=tmp_path / "theirs.pth")
    loaded = DetectionModel(config, verbose=False).model[0].body.net
    for name, value in theirs.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.save({"other": torch.rand(3)}, tmp_path / "others.pth")
    with pytest.raises(ValueError, match=r"others\.pth"):
        DetectionModel(compose("yolov8n", "TheirNet", weights=tmp_path / "others.pth"), verbose=False)


def test_a_class_may_be_replaced_in_a_notebook(their_net):
    assert [map.channels for map in find("TheirNet").maps()] == [16, 32, 64, 128]
    wider = type("TheirNet", (their_net,), {"__init__": lambda self, c1=3: their_net.__init__(self, c1, 16)})
    wider.__module__ = their_net.__module__
    register(wider, like="Network")
    assert [map.channels for map in find("TheirNet").maps()] == [32, 64, 128, 256]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            [-1, 1, "TheirNet", [8, [1, 1, 1, 1], 0.1, [0], 5]],
            r"TheirNet: the YAML row gives .* but it takes \[embed_dim=8",
        ),
        ([-1, 1, "TheirNet", ["wide"]], r"TheirNet, \['wide'\]: it cannot be built"),
        ([-1, 1, "TheirNet", [{"a": 1}]], r"has to be a number, a text or a list of such"),
        ([-1, 3, "TheirNet", []], r"row 0: TheirNet, \[\] reads row -1 3 times"),
        ([0, 1, "TheirNet", []], r"row 0: TheirNet, \[\] reads row 0 1 times"),
    ],
)
def test_a_row_that_is_wrong(their_net, row, says):
    config = five_rows([])
    config["backbone"][0] = row
    with pytest.raises((TypeError, ValueError), match=says) as error:
        DetectionModel(config, verbose=False)
    assert len(str(error.value)) < 400


def test_it_belongs_into_the_first_row(their_net):
    config = yaml_model_load("yolov8n.yaml")
    config["backbone"][2] = [-1, 1, "TheirNet", []]
    with pytest.raises(ValueError, match="row 2: TheirNet is a whole network, which belongs into row 0"):
        DetectionModel(config, verbose=False)


def test_it_is_no_row_of_a_chain(their_net):
    with pytest.raises(ValueError, match="TheirNet, which is a whole network, and no row of one"):
        Chain(3, [[1, "Conv", [8, 3, 2]], [1, "TheirNet", []]], [1])


class Returns(nn.Module):
    """Returns what its test wants."""

    result = staticmethod(lambda x: x)

    def __init__(self, c1=3):
        super().__init__()
        self.conv = nn.Conv2d(c1, 8, 1)

    def forward(self, x):
        return type(self).result(self.conv(x))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda x: x.mean((2, 3)), r"its forward returns 1x8, and has to return maps"),
        (lambda x: [], "its forward returns nothing"),
        (lambda x: [x, "text"], "its forward returns 1x8x256x256, str"),
        (lambda x: x[..., :-2, :-2], "of an image of 256x256 it makes maps of 254x254"),
        (lambda x: x @ torch.ones(224, 3), r"it fails on an image of 3x256x256 \(.*\); it has to take any size"),
    ],
    ids=["a classifier", "nothing", "text", "an odd size", "one image size"],
)
def test_a_network_that_gives_no_maps(scratch, result, says):
    kind = type("Kind", (Returns,), {"result": staticmethod(result)})
    kind.__module__ = __name__
    register(kind, like="Network")
    with pytest.raises(ValueError, match=rf"Kind, \[\]: {says}"):
        compose("yolov8n", "Kind")


@pytest.mark.parametrize(
    "result", [lambda x: {"a": x, "b": x[..., ::2, ::2]}, lambda x: x], ids=["a mapping", "one map"]
)
def test_other_forms_of_maps(scratch, result):
    kind = type("Kind", (Returns,), {"result": staticmethod(lambda x: result(x[..., ::8, ::8]))})
    kind.__module__ = __name__
    register(kind, like="Network")
    body = DetectionModel(compose("yolov8n", "Kind"), verbose=False).model[0].body
    assert [tuple(x.shape) for x in body(torch.rand(1, 3, 64, 64))] == [(1, 8, 8, 8), (1, 8, 4, 4), (1, 8, 2, 2)]


def test_info(their_net, run_cli, tmp_path):
    env = {environment.BLOCKS: str(tmp_path / "their_net.py")}
    said = run_cli(["yolo-backbones", "info", "TheirNet"], env=env).stdout
    assert "network of your own" in said and "its own maps" in said
    assert "4 8 16 32" in said and "16 32 64 128" in said
    assert "yolo train model=yolov8n-TheirNet.yaml" in said


def test_its_signature(scratch):
    class Reduces(nn.Module):
        def __init__(self, reduction=16): ...

    with pytest.raises(ValueError, match=r"reduction is not the number of the input's channels"):
        register(Reduces, like="Network")
    assert CONTRACTS["Network"].whole and [name for name, of in CONTRACTS.items() if of.whole] == ["Network"]


def test_names_of_networks_here_stay_theirs(scratch):
    class resnet18(nn.Module):
        def __init__(self, c1=3): ...

    class ResNet34(nn.Module):
        def __init__(self, c1=3): ...

    register(ResNet34, like="Network")
    assert type(find("ResNet34")).__name__ == "RegisteredBackbone"
    assert isinstance(find("resnet34"), timm_backbone.TimmBackbone)  # in lower case it is timm's
    register(resnet18, like="Network")
    assert type(find("resnet18")).__name__ == "RegisteredBackbone"  # who registers it means it
