"""Model YAMLs of tutorials and forks: each is read as what it means there, or refused with a sentence."""

import copy
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load
from ultralytics.utils import IterableSimpleNamespace

from yolo_backbones import dialects, shapes
from yolo_backbones.backbones import find
from yolo_backbones.backbones.published import PublishedBackbone
from yolo_backbones.cli import main
from yolo_backbones.dialects import blocks
from yolo_backbones.families.fasternet import FasterBlock
from yolo_backbones.families.starnet import StarBlock
from yolo_backbones.layers.csp import C3Of
from yolo_backbones.weights import fetch

FILES = sorted((Path(__file__).parent / "data" / "dialects").glob("*.yaml"))
PRETRAINED = [file for file in FILES if "pretrained" in file.stem]
PLAIN = [file for file in FILES if file not in PRETRAINED]


def of(stem: str) -> Path:
    return next(file for file in FILES if file.stem == stem)


def build(config) -> DetectionModel:
    head = yaml_model_load(config)["head"] if isinstance(config, Path) else config["head"]
    kind = RTDETRDetectionModel if head[-1][2] == "RTDETRDecoder" else DetectionModel
    return kind(str(config) if isinstance(config, Path) else config, verbose=False)


def maps(model, size=64):
    """Return what each row gives."""
    x, found = torch.rand(1, 3, size, size), []
    for layer in model.model[:-1]:
        if layer.f != -1:
            x = found[layer.f] if isinstance(layer.f, int) else [x if j == -1 else found[j] for j in layer.f]
        x = layer(x)
        found.append(x)
    return found


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("file", PLAIN, ids=lambda file: file.stem)
def test_builds_and_trains_a_step(file):
    torch.manual_seed(0)
    model = build(file).train()
    model.nc = 5  # as trainers set it
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True)
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": torch.full((2, 4), 0.5),
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss, _ = model.loss(batch)
    loss.sum().backward()
    optimizer.step()
    assert torch.isfinite(loss).all()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("model.0.") for name in moved), "the gradient reaches the first row"


@pytest.mark.parametrize("file", [file for file in PLAIN if "one-row" in file.stem], ids=lambda file: file.stem)
def test_one_row_counts_as_five(file):
    """Rows 1 to 4 are the network's maps at strides 4 to 32, and the row behind it is row 5 of the file."""
    written = yaml.safe_load(file.read_text())
    model = build(file).eval()
    given = maps(model)
    for row, stride in zip(range(1, 5), (4, 8, 16, 32)):
        if isinstance(given[row], torch.Tensor):
            assert given[row].shape[-1] == 64 // stride
    assert len(model.model) == 4 + len(written["backbone"] + written["head"])
    assert type(model.model[5]).__name__ == (written["backbone"] + written["head"])[1][2]
    backbone = find(written["backbone"][0][2])
    assert isinstance(backbone, PublishedBackbone)
    factors = [value for value in written["backbone"][0][3] if not isinstance(value, bool)]
    own = [map.channels for map in backbone.maps() if map.stride in (8, 16, 32)]
    if len(own) == 3:
        width = factors[-1] if factors else 1
        assert [given[row].shape[1] for row in (2, 3, 4)] == [round(c * width) for c in own]


def test_its_parameters_are_the_networks():
    """At another width and depth: counted by the definition in the paper, one block after the other."""
    full = build(of("yolov8n-one-row-starnet"))
    variant = find("starnet_s050").features((4, 8, 16, 32), 3, None)
    assert parameters(full.model[0]) == parameters(variant)
    narrow = build(of("yolov8n-one-row-vanillanet"))
    dims = [128, 256, 512, 1024]
    stem = 3 * 16 * dims[0] + dims[0] + dims[0] ** 2 + dims[0] + 4 * dims[0]
    blocks = sum(a * a + a + a * b + b + 2 * a + 2 * b for a, b in itertools.pairwise(dims))
    activations = sum(49 * c + 2 * c for c in dims)
    assert parameters(narrow.model[0]) == stem + blocks + activations
    half = build(of("yolov8n-one-row-lsknet")).model[0].body.net
    assert [len(stage.blocks) for stage in half.modules() if hasattr(stage, "blocks")] == [2, 2, 2, 1]


def test_a_map_that_nobody_reads_is_not_made():
    model = build(of("yolov8n-one-row-vit"))
    assert isinstance(model.model[1], nn.Identity)
    assert model.model[0].body.strides == (8, 16, 32)


def test_timms_maps_are_the_last_ones_selected():
    model = build(of("yolov8n-timm-backbone")).eval()
    given = maps(model)
    assert [given[row].shape[1:3] for row in (1, 2, 3)] == [(24, 8), (32, 4), (336, 2)]
    config = yaml.safe_load(of("yolov8n-timm-backbone").read_text())
    config["backbone"][0][3].append([2, 3, 4])  # the same maps, of timm's five
    assert dialects.read(config).config["backbone"][0] == yaml_model_load(of("yolov8n-timm-backbone"))["backbone"][0]


def test_fasternets_rows():
    model = build(of("yolov8-fasternet-rows"))
    rows = model.model
    assert [len(rows[i].blocks) for i in (1, 3, 5, 7)] == [1, 2, round(8 * 0.33), 1]
    for i, (c1, c2, k) in {0: (3, 40, 4), 2: (40, 80, 2), 4: (80, 160, 2), 6: (160, 320, 2)}.items():
        assert parameters(rows[i]) == c1 * c2 * k * k + 2 * c2
    for i, c in {1: 40, 3: 80, 5: 160, 7: 320}.items():
        assert parameters(rows[i]) == len(rows[i].blocks) * (9 * (c // 4) ** 2 + 2 * c * 2 * c + 2 * 2 * c)


@pytest.mark.parametrize("stem", ["yolov8-vanillanet-rows", "yolov8-vanillanetblock-rows"])
def test_vanillanets_rows(stem):
    written = yaml.safe_load(of(stem).read_text())
    model = build(of(stem)).eval()
    given = maps(model, 256)
    size, c1 = 65, given[0].shape[1]
    for i, row in enumerate(written["backbone"][1:], 1):
        c, act_num, stride = row[3]
        size //= stride
        c2 = round(c * written["width_multiple"])
        assert given[i].shape[1:] == (c2, size, size)
        convs = c1 * c1 + c1 + 2 * c1 + c1 * c2 + c2 + 2 * c2
        assert parameters(model.model[i]) == convs + c2 * (2 * act_num + 1) ** 2 + 2 * c2
        c1 = c2
    assert model.stride.tolist() == [8, 16, 32]


@pytest.mark.parametrize(("name", "block"), [("star", StarBlock), ("faster", FasterBlock)])
def test_blocks_in_the_place_of_c2f_and_c3k2(name, block):
    """The layer around them is Ultralytics' own, by its count of parameters."""
    stock = DetectionModel("yolov8n.yaml", nc=5, verbose=False)
    model = build(of(f"yolov8n-c2f-{name}"))
    for i in (2, 4, 6, 8, 12, 15, 18, 21):
        ours, theirs = model.model[i], stock.model[i]
        assert all(type(inner) is block for inner in ours.m) and len(ours.m) == len(theirs.m)
        assert parameters(ours.cv1) == parameters(theirs.cv1) and parameters(ours.cv2) == parameters(theirs.cv2)
    stock = DetectionModel("yolo11n.yaml", nc=5, verbose=False)
    model = build(of(f"yolo11n-c3k2-{name}"))
    assert parameters(model.model[-1]) == parameters(stock.model[-1]), "the head is YOLO11's"
    for i in (2, 4, 6, 8, 13, 16, 19, 22):
        ours, theirs = model.model[i], stock.model[i]
        assert parameters(ours.cv1) == parameters(theirs.cv1) and parameters(ours.cv2) == parameters(theirs.cv2)
        assert {type(inner) for inner in ours.m} == ({block} if type(theirs.m[0]).__name__ == "Bottleneck" else {C3Of})


def test_at_m_every_c3k2_is_deep_as_in_yolo11(tmp_path):
    file = tmp_path / "yolo11m-mine.yaml"
    file.write_text(of("yolo11n-c3k2-star").read_text())
    model = build(file)
    assert {type(inner) for i in (2, 4, 6, 8) for inner in model.model[i].m} == {C3Of}
    assert DetectionModel("yolov8n.yaml", verbose=False).model[-1].legacy, "other heads are built as before"
    assert Detect.__init__.__qualname__ == "Detect.__init__"


def test_skattention():
    model = build(of("yolov8n-skattention"))
    c, d = 256, 32
    branches = sum(c * c * k * k + c + 2 * c for k in (3, 5, 7))
    assert parameters(model.model[10]) == branches + c * d + d + 3 * (c * d + c)
    model = DetectionModel(edited("yolov8n-skattention", 10, [1024, 64]), verbose=False)
    assert len(model.model[10].branches) == 4 and model.model[10].squeeze.out_channels == 32


@pytest.fixture
def asked(monkeypatch):
    """The names of the weights that were asked for, where there is no network."""
    names = []

    def nowhere(name, *args, **kwargs):
        names.append(name)
        raise ConnectionError(f"{name}: no network")

    monkeypatch.setattr(fetch, "from_hub", nowhere)
    return names


def test_pretrained_asks_for_the_published_weights(asked):
    """And where they cannot be had, it says so: nothing is trained from random weights unasked."""
    for file in PRETRAINED:
        with pytest.raises(ConnectionError, match="no network"):
            build(file)
    assert asked == ["starnet_s1.in1k"]


@pytest.mark.parametrize(
    ("stem", "args", "without"),
    [
        ("yolov8n-one-row-starnet-pretrained", [True], [False]),
        ("yolov8n-timm-backbone", ["resnet18", True], ["resnet18", False]),
    ],
)
def test_without_a_network_the_row_can_be_built_without_weights(stem, args, without, asked):
    with pytest.raises(ConnectionError, match="no network; or write False as pretrained in the row"):
        build(edited(stem, 0, args))
    assert len(asked) == 1
    build(edited(stem, 0, without))
    assert len(asked) == 1


def test_without_a_network_a_name_is_not_told_of_a_row(asked):
    for config in ("yolov8n-starnet_s1.in1k.yaml", yaml_model_load(PRETRAINED[0]) | {dialects.MARK: "own"}):
        with pytest.raises(ConnectionError, match=r"no network$"):
            DetectionModel(config, verbose=False)


@pytest.mark.parametrize("file", PLAIN, ids=lambda file: file.stem)
def test_says_in_a_line_what_was_understood(file, caplog):
    config = yaml_model_load(str(file))
    said = [record.message for record in caplog.records if "read" in record.message]
    if dialects.MARK not in config:
        assert said == []  # rows that are blocks here by the same name
        return
    assert len(said) == 1 and "\n" not in said[0]
    assert f'read "{yaml.safe_load(file.read_text())["backbone"][0][2]}' in said[0] or "VanillaBlock" in said[0]
    same = re.search(r"; the same: (\S+)", said[0])
    if same:
        named = DetectionModel(same[1], nc=5, verbose=False)
        assert parameters(named) == parameters(build(config))
        ours = [(k.rpartition(".")[2], v.shape) for k, v in named.state_dict().items()]
        assert ours == [(k.rpartition(".")[2], v.shape) for k, v in build(config).state_dict().items()]


def test_a_config_of_ultralytics_own_is_left_alone(caplog):
    for name in ("yolov8n.yaml", "yolo11n-seg.yaml", "yolov8n-starnet.yaml", "yolov8n-vanillanet.yaml"):
        assert not dialects.was_read(yaml_model_load(name))
    assert not [record for record in caplog.records if " read " in record.message]


def test_trains_and_opens_without_the_file(tmp_path, few_shapes):
    file = tmp_path / "yolov8n-mine.yaml"
    text = of("yolov8n-one-row-vanillanet").read_text()
    file.write_text(text.replace("nc: 5", f"nc: {len(shapes.CLASSES)}"))
    options = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "val": False}
    YOLO(file).train(data=few_shapes, epochs=1, project=str(tmp_path), name="run", **options)
    file.unlink()
    last = tmp_path / "run" / "weights" / "last.pt"
    code = "import sys; from ultralytics import YOLO; YOLO(sys.argv[1]).predict(sys.argv[2], imgsz=64)"
    picture = next((few_shapes.parent / "shapes" / "images" / "val").iterdir())
    subprocess.run([sys.executable, "-c", code, last, picture], cwd=tmp_path, check=True, capture_output=True)
    again = YOLO(last).train(data=few_shapes, epochs=1, project=str(tmp_path), name="again", **options)
    assert again is None or (tmp_path / "again" / "weights" / "last.pt").exists()


def test_a_dictionary_is_read_as_well():
    config = yaml.safe_load(of("yolov8n-one-row-starnet").read_text())
    assert parameters(DetectionModel(config, verbose=False)) == parameters(build(of("yolov8n-one-row-starnet")))


def edited(stem: str, row: int, args: list, block: str = "") -> dict:
    """Return a file's config with other arguments in a backbone's row."""
    config = yaml.safe_load(of(stem).read_text())
    config["backbone"][row][3] = args
    if block:
        config["backbone"][row][2] = block
    return config | {"yaml_file": "yolov8n-theirs.yaml", "scale": "n" if config.get("scales") else ""}


def changed(stem: str, change) -> dict:
    config = yaml.safe_load(of(stem).read_text())
    change(config)
    return config | {"yaml_file": "yolov8n-theirs.yaml", "scale": "n" if config.get("scales") else ""}


WRONG = {
    "row 0: starnet_s050, [0.5, 0.5, 0.5] cannot be understood": edited("yolov8n-one-row-starnet", 0, [0.5, 0.5, 0.5]),
    "row 0: starnet_s050, [64] cannot be understood": edited("yolov8n-one-row-starnet", 0, [64]),
    "row 0: starnet_s050, [wide] cannot be understood": edited("yolov8n-one-row-starnet", 0, ["wide"]),
    "no weights are published for starnet_s050; write []": edited("yolov8n-one-row-starnet", 0, [True]),
    "no weights are published for another width": edited("yolov8n-one-row-starnet-pretrained", 0, [True, 0.5]),
    "there is no such file": edited("yolov8n-one-row-starnet", 0, [True, "missing.pth"]),
    "yolov8x-theirs.yaml asks for scale x, and the file has n, s": edited("yolov8n-one-row-timm", 0, [])
    | {"yaml_file": "yolov8x-theirs.yaml", "scale": "x"},
    "row 7: Concat: from=[-1, 'p4'] has to be": changed(
        "yolov8n-one-row-timm", lambda c: c["head"][1].__setitem__(0, [-1, "p4"])
    ),
    "vanillanet_13 at width=8": edited("yolov8n-one-row-vanillanet", 0, [8], "vanillanet_13"),
    "VanillaNet has one block a stage": edited("yolov8n-one-row-vanillanet", 0, [0.5, 0.25]),
    "resnet18 comes in one size": edited("yolov8n-one-row-timm", 0, [0.25]),
    "reads row 0": changed("yolov8n-one-row-timm", lambda c: c["head"][1].__setitem__(0, [-1, 0])),
    "a network reads the image, once": changed("yolov8n-one-row-timm", lambda c: c["backbone"][0].__setitem__(1, 3)),
    "has to be the name of a network": edited("yolov8n-timm-backbone", 0, []),
    "no backbone": edited("yolov8n-timm-backbone", 0, ["resnet1800", False]),
    "needs rows that take its maps": edited("yolov8n-timm-backbone", 0, ["resnet18", False])
    | {"backbone": [[-1, 1, "TimmBackbone", ["resnet18", False]], [-1, 1, "SPPF", [1024, 5]]]},
    "has to take one map of row 0": edited("yolov8n-timm-backbone", 1, ["first"]),
    "has 5 maps, and a FeatureSelect row takes map 7": edited("yolov8n-timm-backbone", 3, [7]),
    "asks for maps [2, 3, 9]": edited("yolov8n-timm-backbone", 0, ["resnet18", False, [2, 3, 9]]),
    "kernel of 7 pixels has to be as large as its stride, 4": edited("yolov8-fasternet-rows", 0, [40, 7, 4]),
    "row 1: BasicStage, [64, 1] keeps its channels, and the row that it reads has 40": edited(
        "yolov8-fasternet-rows", 1, [64, 1]
    ),
    "row 1: BasicStage, []: it takes [c, depth=1": edited("yolov8-fasternet-rows", 1, []),
    "row 1: BasicStage, [40, many]: 'many' has to be a number": edited("yolov8-fasternet-rows", 1, [40, "many"]),
    "row 1: BasicStage: depth=0 has to be a whole number": edited("yolov8-fasternet-rows", 1, [40, 0]),
    "row 1: vanillanetBlock, [256, 1, 2, true]: it is built merged": edited(
        "yolov8-vanillanetblock-rows", 1, [256, 1, 2, True]
    ),
    "row 1: VanillaBlock, [96, 2, 3] can be read as c2=96, s=2, act_num=3, as in this package, or as c=96, act_num=2, "
    "stride=3, as in forks, and neither gives": changed(
        "yolov8-vanillanet-rows",
        lambda c: [row.__setitem__(3, [row[3][0], 2 + i, 3]) for i, row in enumerate(c["backbone"][1:])],
    ),
    "SKAttention: c2=128 has to be c1=256": edited("yolov8n-skattention", 10, [512]),
    # What is seen when it runs, and what `parse_model` cannot read while both readings are tried.
    "row 8: Concat cannot take maps of": edited("yolov8-vanillanetblock-rows", 1, [256, 1, 1]),
    "row 3: VanillaBlock cannot take a map of": edited("yolov8-vanillanetblock-rows", 1, [256, 1, 17]),
    "Concat cannot take maps of": changed("yolov8-fasternet-rows", lambda c: c["head"][0][3].__setitem__(1, 3)),
    "'leaky relu' is neither a word": changed("yolov8-vanillanet-rows", lambda c: c["head"][0][3].append("leaky relu")),
    "row 1: VanillaBlock: repeats=1000000000 has to be": changed(
        "yolov8-vanillanet-rows", lambda c: c["backbone"][1].__setitem__(1, 10**9)
    ),
    "row 1: VanillaBlock: repeats=2 at the depth multiple 1e+09 is more than 100": changed(
        "yolov8-vanillanet-rows", lambda c: (c["backbone"][1].__setitem__(1, 2), c.update(depth_multiple=1e9))
    ),
    "'(((": changed("yolov8-vanillanet-rows", lambda c: c["head"][0][3].append("(" * 500)),
    "'(' is neither a word": changed("yolov8-vanillanet-rows", lambda c: c["backbone"][0][3].append("(")),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_variants_get_a_sentence(said):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(said)) as error:
        build(copy.deepcopy(WRONG[said]))
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def vanillanet(act_num: int, stride: int) -> dict:
    """Return a config whose rows are [c, act_num, stride] or, which is as likely, [c, s, act_num]."""
    return changed(
        "yolov8-vanillanet-rows",
        lambda c: [row.__setitem__(3, [row[3][0], act_num, stride]) for row in c["backbone"][1:4]],
    )


def test_of_two_readings_the_one_with_a_detectors_strides_is_taken():
    theirs, ours = vanillanet(3, 2), vanillanet(2, 3)
    for config in (theirs, ours):
        config["backbone"][4][3] = [768, *sorted(config["backbone"][1][3][1:], reverse=config is theirs)]
        config["backbone"][4][3] = [768, 3, 1] if config is theirs else [768, 1, 3]
    read = DetectionModel(theirs, verbose=False)
    same = DetectionModel(ours, verbose=False)
    for i in range(1, 5):
        assert read.model[i].pool.__class__ is same.model[i].pool.__class__
        assert read.model[i].act.series.conv.kernel_size == same.model[i].act.series.conv.kernel_size == (7, 7)
    assert read.stride.tolist() == same.stride.tolist() == [8, 16, 32]


def test_our_rows_are_never_refused():
    """As this package documents them, [c2, s]; and with `dialect: own` any."""
    short = changed(
        "yolov8-vanillanet-rows",
        lambda c: [row.__setitem__(3, [row[3][0], row[3][2]]) for row in c["backbone"][1:]],
    )
    assert DetectionModel(short, verbose=False).stride.tolist() == [8, 16, 32]
    assert dialects.read(WRONG[next(key for key in WRONG if "can be read as" in key)] | {dialects.MARK: "own"}) is None


@pytest.mark.parametrize(
    ("typed", "meant"), [("ResNet-18", "resnet18"), ("StarNet_S050", "starnet_s050"), ("FasterNet-T0", "fasternet_t0")]
)
def test_networks_by_other_spellings(typed, meant):
    config = yaml.safe_load(of("yolov8n-one-row-timm").read_text())
    config["backbone"][0][2] = typed
    read = dialects.read(config)
    assert read.config["backbone"][0][3][0] == meant and typed in read.line


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("yolov8x-theirs.yaml", lambda c: None, "asks for scale x, and the file has n, s"),
        ("yolov8n-theirs.yaml", lambda c: c.update(scales={"n": [1]}), "where three numbers above 0 belong"),
        ("yolov8n-theirs.yaml", lambda c: c["backbone"][0].__setitem__(3, [64]), "cannot be understood"),
        ("yolov8n-theirs.yaml", lambda c: c["backbone"].pop(0), "has no row of a dialect"),
    ],
)
def test_convert_tells_mistakes_in_a_line(name, change, said, tmp_path, capsys):
    config = yaml.safe_load(of("yolov8n-one-row-timm").read_text())
    change(config)
    (tmp_path / name).write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit):
        main(["convert", str(tmp_path / name), "-o", "-"])
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and err[-1].startswith("yolo-backbones: ")


def test_rows_that_could_be_a_forks_are_looked_at_once(monkeypatch):
    """Each look builds the model on the meta device, for which torch imports 150 MB."""
    looks = []
    monkeypatch.setattr(blocks, "come_out", lambda config: looks.append(config) or True)
    config = yaml_model_load("yolov8n-vanillanet.yaml")
    DetectionModel({key: value for key, value in config.items() if key != dialects.MARK}, verbose=False)
    assert len(looks) == 1
    for name in ("yolov8n-vanillanet.yaml", "yolo11n-vanillanet.yaml"):  # these are known to be this package's
        DetectionModel(name, verbose=False)
    assert len(looks) == 1
