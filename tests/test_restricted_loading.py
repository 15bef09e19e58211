"""Restricted loading (`ULTRALYTICS_SAFE_LOAD=1`, `safe_only=True`): our models open, hostile files do nothing."""

import io
import pickle
import struct
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, torch_safe_load

from yolo_backbones import configs
from yolo_backbones.backbones.chain import Chain
from yolo_backbones.backbones.timm import TimmBackbone

pytestmark = pytest.mark.skipif(
    not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint") or not hasattr(tasks, "_SafeLoad"),
    reason="this torch or Ultralytics has no restricted loading",
)


# A checkpoint written by hand, opcode by opcode: what no pickler would write.


def named(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def listed(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"t" + b"R"


def checkpoint(path: Path, body: bytes) -> Path:
    """A torch archive whose pickle leaves what `body` pushes last under the key `model`."""
    written = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            pickled = b"\x80\x02}" + text("model") + body + b"s."
            target.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else source.read(entry))
    return path


def refused(path: Path) -> str:
    """The words with which a file is refused; they have to be Ultralytics', or those of a refused unpickling."""
    before = set(torch.serialization.get_safe_globals())
    with pytest.raises((TypeError, pickle.UnpicklingError)) as error:
        torch_safe_load(str(path), safe_only=True)
    added = set(torch.serialization.get_safe_globals()) - before
    assert not [entry for entry in added if "yolo_backbones" in str(entry) or "timm" in str(entry)]
    return f"{error.value} {error.value.__cause__}"


IMPORTED = [
    "timm.layers.blur_pool.partial",
    "timm.models.sequencer.accumulate",
    "timm.models._manipulate.chain",
    "timm.models._pretrained.deque",
    "timm.models._pretrained.Path",
    "timm.layers.format.Enum",
    "timm.models._registry.defaultdict",
    "yolo_backbones.layers.fold.defaultdict",
    "yolo_backbones.backbones.published.Path",
    "yolo_backbones.families.starnet.Variant",
    "torchvision.ops.stochastic_depth.Tensor",
]


@pytest.mark.parametrize("path", IMPORTED)
def test_a_name_that_a_module_has_imported_is_no_class_of_its(path, tmp_path):
    assert "Unsupported global" in refused(checkpoint(tmp_path / "evil.pt", call(named(path), text("x"))))


def test_naming_a_lender_does_not_allow_what_it_borrowed(tmp_path):
    """The hole of once: a bait named through timm allowed the thing itself, wherever the file names it."""
    bait = b"".join(named(path) + b"0" for path in IMPORTED)
    for path in ("functools.partial", "collections.deque", "itertools.accumulate", "enum.Enum", "pathlib.Path"):
        refused(checkpoint(tmp_path / "evil.pt", call(named(path), text("x")) + bait))


def test_no_shell_command_runs(tmp_path):
    mark = tmp_path / "ran"
    partial = call(named("functools.partial"), named("os.system"), text(f"touch {mark}"))
    body = named("timm.layers.blur_pool.partial") + b"0" + call(partial)
    refused(checkpoint(tmp_path / "evil.pt", body))
    assert not mark.exists()


CALLED = {
    "Network": call(
        named("yolo_backbones.backbones.network.Network"),
        number(3),
        text("vanillanet_5"),
        listed(number(1), number(2), number(3)),
        mapping(strides=listed(number(8)), weights=text("in1k")),
    ),
    "Chain": call(
        named("yolo_backbones.backbones.chain.Chain"),
        text("Conv"),
        listed(listed(number(1), text("__setattr__"), listed(text("Bottleneck")))),
        listed(),
    ),
    "StarStage": call(named("yolo_backbones.families.starnet.StarStage"), number(10**6), number(10**6)),
    "timm's": call(named("timm.layers.conv_bn_act.ConvNormAct"), number(3), number(8)),
    "torchvision's": call(named("torchvision.ops.stochastic_depth.StochasticDepth"), number(1), text("row")),
}


@pytest.mark.parametrize("name", CALLED)
def test_a_checkpoint_cannot_call_a_constructor(name, tmp_path):
    before = dict(vars(sys.modules["ultralytics.nn.modules"]))
    assert "which is not allowed" in refused(checkpoint(tmp_path / "evil.pt", CALLED[name]))
    assert vars(sys.modules["ultralytics.nn.modules"]) == before


def test_a_detector_built_while_unpickling_fetches_and_reads_nothing(tmp_path, monkeypatch):
    """Ultralytics lets a file call its own models, and they take any config."""
    reached = []
    monkeypatch.setattr(TimmBackbone, "from_file", lambda self, path, *_: reached.append(path))
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"x" * 100)
    row = listed(
        number(-1),
        number(1),
        text("Network"),
        listed(
            text("resnet18"),
            listed(number(128), number(256), number(512)),
            mapping(strides=listed(number(8), number(16), number(32)), weights=text(str(weights))),
        ),
    )
    config = mapping(nc=number(1), backbone=listed(row), head=listed())
    file = checkpoint(tmp_path / "evil.pt", call(named("ultralytics.nn.tasks.DetectionModel"), config))
    assert "which is not allowed" in refused(file)
    assert reached == []


@pytest.mark.parametrize("name", ["__setattr__", "torch", "__all__", "math", "Conv.forward", "", "conv"])
def test_a_chain_takes_layers_alone(name):
    before = dict(vars(sys.modules["ultralytics.nn.modules"]))
    with pytest.raises(ValueError, match="which is unknown: neither registered"):
        Chain(3, [[1, name, ["Bottleneck", 1]]], [0])
    assert vars(sys.modules["ultralytics.nn.modules"]) == before


UNKNOWN = [
    "timm.models.from_the_future.Net",
    "timm.layers.format.Format.NCHW",
    "timm.layers..x",
    "timm.models...os.system",
    "timm.layers.",
    "yolo_backbones.cli.app",
    "yolo_backbones.families.nowhere.Net",
    "yolo_backbones.families.starnet.StarNest",
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_class_that_is_not_there_is_left_to_ultralytics_refusal(path, tmp_path):
    before = set(sys.modules)
    assert "Unsupported global" in refused(checkpoint(tmp_path / "odd.pt", named(path)))
    assert "yolo_backbones.cli" not in set(sys.modules) - before


@pytest.mark.parametrize("damage", ["empty", "text", "truncated zip", "truncated pickle", "odd opcode", "half a name"])
def test_what_cannot_be_read_is_left_to_ultralytics_refusal(damage, tmp_path):
    file = checkpoint(tmp_path / "odd.pt", b"N")
    whole = file.read_bytes()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("not a checkpoint")
    elif damage == "truncated zip":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        checkpoint(
            file, {"truncated pickle": b"X\xff\xff", "odd opcode": b"\x95", "half a name": b"c\xff\xfe\n"}[damage]
        )
    with pytest.raises(Exception) as ours:  # noqa: PT011  # which one, the plain function says
        torch_safe_load(str(file), safe_only=True)
    with pytest.raises(type(ours.value)) as theirs:
        torch_safe_load.__wrapped__(str(file), safe_only=True)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", ["yolov8n-starnet.yaml", "yolov8n-test_vit.yaml", "rtdetr-l-fasternet.yaml"])
def test_a_model_opens_by_the_argument_too_and_leaves_no_class_allowed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (RTDETR if name.startswith("rtdetr") else YOLO)(name).save("ours.pt")
    before = set(torch.serialization.get_safe_globals())
    found, _ = torch_safe_load("ours.pt", safe_only=True)
    assert isinstance(found["model"], nn.Module)
    added = {str(entry) for entry in set(torch.serialization.get_safe_globals()) - before}
    assert not [entry for entry in added if "yolo_backbones" in entry or "timm" in entry]
    with pytest.raises(pickle.UnpicklingError):
        torch.load("ours.pt", weights_only=True)


def test_no_stand_in_is_left_in_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YOLO("yolov8n-test_convnext.yaml").save("ours.pt")
    found, _ = torch_safe_load("ours.pt", safe_only=True)
    plain, _ = torch_safe_load("ours.pt", safe_only=False)
    for (key, ours), (_, theirs) in zip(found["model"].named_modules(), plain["model"].named_modules(), strict=True):
        assert type(ours) is type(theirs)
        for name, value in vars(theirs).items():
            if isinstance(value, type):
                assert vars(ours)[name] is value, (key, name)


@pytest.mark.slow
def test_many_threads_load_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [f"{stem.replace('v8', 'v8n')}" for stem in configs.models()] * 3
    for name in dict.fromkeys(files):
        model = DetectionModel(f"{name}.yaml", verbose=False)
        torch.save({"model": model}, f"{name}.pt")
    failed = []

    def load(name):
        try:
            torch_safe_load(f"{name}.pt", safe_only=True)
        except Exception as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=load, args=(name,)) for name in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
