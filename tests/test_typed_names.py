"""Names as people type them, from papers, torchvision, hubs or memory: what is taken, and what is offered.

Where exactly one meaning is right, it is taken and said in a line; see docs/design.md.
"""

import contextlib
import csv
import itertools
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import yaml
from timm.models import _registry
from torchvision.models import regnet
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import LOGGER

from yolo_backbones import aliases, catalogue, cli, compose, composition, configs, detectors, registry
from yolo_backbones.families import families
from yolo_backbones.seam import block_names, block_rows

TAKEN = {
    # spelling
    "resnet-18": "resnet18",
    "ResNet18": "resnet18",
    "resnet_18": "resnet18",
    "ResNet-18.a1_in1k": "resnet18.a1_in1k",
    "efficientnet-b0": "efficientnet_b0",
    "densenet-121": "densenet121",
    "VGG16-BN": "vgg16_bn",
    "wide-resnet50-2": "wide_resnet50_2",
    "ResNeXt50-32x4d": "resnext50_32x4d",
    "efficientnet_v2_s": "efficientnetv2_s",
    "repvgg-a0": "repvgg_a0",
    "RepViT-M1.1": "repvit_m1_1",
    "convnext-tiny": "convnext_tiny",
    "tiny_vit_5m": "tiny_vit_5m_224",
    "StarNet": "starnet",
    "STARNET": "starnet",
    "StarNet-S1": "starnet_s1",
    "StarNet-S1.in1k": "starnet_s1.in1k",
    "FasterNet-T0": "fasternet_t0",
    "faster_net": "fasternet",
    "VanillaNet-5": "vanillanet_5",
    "vanillanet5": "vanillanet_5",
    "sk_resnet18": "skresnet18",
    "LSKNet-T": "lsknet_t",
    # whose it is
    "timm-resnet18": "resnet18",
    "timm/resnet18": "resnet18",
    "hf-hub:timm/resnet18.a1_in1k": "resnet18.a1_in1k",
    "hf_hub:timm/efficientnet_b0.ra_in1k": "efficientnet_b0.ra_in1k",
    "microsoft/resnet-18": "resnet18",
    "google/vit-base-patch16-224": "vit_base_patch16_224",
    "google/mobilenet_v2_1.0_224": "mobilenetv2_100",
    "facebook/dinov2-small": "vit_small_patch14_dinov2",
    "facebook/dinov3-vits16-pretrain-lvd1689m": "vit_small_patch16_dinov3",
    "facebook/convnext-tiny-224": "convnext_tiny",
    "microsoft/swinv2-tiny-patch4-window8-256": "swinv2_tiny_window8_256",
    "apple/mobilevit-small": "mobilevit_s",
    # papers
    "convnext_t": "convnext_tiny",
    "swin-tiny": "swin_tiny_patch4_window7_224",
    "ViT-B/16": "vit_base_patch16_224",
    "RegNetY-400MF": "regnety_004",
    "RegNetX-400MF": "regnetx_004",  # the paper's; torchvision's differs
    "RegNetX-1.6GF": "regnetx_016",
    "RegNetX-16GF": "regnetx_160",
    "GhostNetV2-1.0": "ghostnetv2_100",
    "WRN-50-2": "wide_resnet50_2",
    # timm before 0.9, whose names were those of weights
    "tv_resnet34": "resnet34.tv_in1k",
    "tf_efficientnet_b0_ns": "tf_efficientnet_b0.ns_jft_in1k",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
    "xception": "legacy_xception",
    # torchvision
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet-v3-large": "mobilenetv3_large_100",
    "swin_t": "swin_tiny_patch4_window7_224",
    "vit_b_16": "vit_base_patch16_224",
    "mnasnet1_0": "mnasnet_100",
    "regnet_x_400mf": "regnetx_004_tv",
    "torchvision/regnet_y_8gf": "regnety_080_tv",
}

# Typed, and what the message offers first.
OFFERED = {
    "mobilenetv4": "mobilenetv4_conv_small",
    "mobilenetv3": "mobilenetv3_small_050",
    "dinov3": "vit_",
    "dinov2": "vit_small_patch14",
    "edgenext": "edgenext_xx_small",
    "fastvit": "fastvit_t8",
    "efficientformer": "efficientformer_l1",
    "hrnet": "hrnet_w18_small",
    "ghostnetv2": "ghostnetv2_100",
    "resnet": "resnet10t",
    "swin": "swin_tiny_patch4_window7_224",
    "shufflenet_v2_x1_0": "mobilenetv4_conv_small_050",
    "squeezenet1_1": "mobilenetv3_small_100",
    "mnasnet1_3": "mnasnet_140",
    "maxvit_t": "maxvit_tiny_tf_224",
    "timm": "resnet18",
    "regnetx400mf": "regnet",  # the paper's and torchvision's are spelled so
}

NOT_TAKEN = [*OFFERED, "resnet19", "starnet_s9", "vanillanet_1_3", "resnet1_8", "frobnicate", "", "-", "."]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composition.say_once.cache_clear()


@pytest.fixture
def said(monkeypatch):
    """The lines that are logged."""
    lines = []
    monkeypatch.setattr(LOGGER, "info", lambda line, *args: lines.append(str(line)))
    return lines


def ours(lines):
    return [line for line in lines if line.startswith("yolo_backbones: ")]


# ---- backbones ----


@pytest.mark.parametrize(("typed", "meant"), TAKEN.items())
def test_a_name_with_one_meaning_is_taken(typed, meant):
    assert catalogue.meaning(typed).name == meant
    assert catalogue.find(meant)
    assert catalogue.meaning(meant) == (meant, "")


@pytest.mark.parametrize("typed", NOT_TAKEN)
def test_a_name_with_several_meanings_or_none_is_not(typed):
    assert catalogue.meaning(typed) is None
    with pytest.raises(ValueError, match="no backbone is called"):
        compose("yolov8n", typed)


@pytest.mark.parametrize(("typed", "first"), OFFERED.items())
def test_the_right_names_are_offered_first(typed, first):
    with pytest.raises(FileNotFoundError, match=rf"(take|did you mean) yolov8n-{first}\S*\.yaml") as raised:
        yaml_model_load(f"yolov8n-{typed}.yaml")
    offered = re.findall(r"yolov8n-(\S+)\.yaml", str(raised.value).partition(";")[2])
    assert 1 <= len(offered) <= 4
    assert all(catalogue.find(name) for name in offered)
    assert composition.resolve(Path(f"yolov8n-{offered[0]}.yaml"))


def test_what_is_not_here_is_said_to_be_not_here():
    with pytest.raises(ValueError, match=r"no backbone here is a ShuffleNet; take mobilenetv4"):
        compose("yolov8n", "shufflenet_v2_x1_0")


def test_no_two_backbones_are_spelled_alike():
    squashed = [aliases.squash(name) for name in catalogue.entries()]
    assert len(set(squashed)) == len(squashed)


# ---- the table ----


def test_the_table_names_backbones_and_is_in_order():
    with open(aliases.FILE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["alias"] for row in rows] == sorted({row["alias"] for row in rows})
    for row in rows:
        assert row["alias"] == aliases.fold(row["alias"]) and row["reason"], row
        assert row["names"] and all(catalogue.find(name) for name in row["names"].split()), row
        assert not (row["whose"] and " " in row["names"]), row


def test_the_table_renames_nothing_that_has_a_name():
    assert aliases.table().keys() & {*catalogue.entries(), *timm.list_models()} == set()


def test_what_timm_once_called_so_is_what_timm_takes_it_for():
    old = dict(_registry._deprecated_models)
    known = {alias: new for alias, new in old.items() if new in itertools.chain(*map(_names, catalogue.entries()))}
    assert len(known) > 150
    assert {alias: aliases.table()[alias].names[0] for alias in known} == known
    for alias, row in aliases.table().items():
        if row.whose.startswith("timm"):
            assert old[alias] == row.names[0]


def _names(name):
    return catalogue.entries()[name].names


@contextlib.contextmanager
def without_memory():
    """Torchvision computes the widths of RegNets with tensors, which the meta device cannot."""
    from_init_params = regnet.BlockParams.from_init_params.__func__

    def on_cpu(cls, *args, **kwargs):
        with torch.device("cpu"):
            return from_init_params(cls, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
        yield


def count(network, without=()):
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith(without))


@pytest.mark.parametrize("name", torchvision.models.list_models(torchvision.models))
def test_what_torchvision_calls_so_has_as_many_parameters(name):
    found = catalogue.meaning(name)
    if found is None:
        assert aliases.without_equal(name)
        return
    options = {"init_weights": False} if name == "inception_v3" else {}  # it would take a minute
    with without_memory():
        theirs, ours = torchvision.models.get_model(name, **options), timm.create_model(found.name, num_classes=1000)
    expected = count(theirs, without="AuxLogits.")  # a second classifier, for training
    # Swin V2: timm has no parameter for the keys' bias, which torchvision sets to 0.
    keys = sum(p.numel() for key, p in ours.named_parameters() if key.endswith("attn.q_bias"))
    assert count(ours) + keys == expected


def test_what_only_sounds_alike_is_not_the_same():
    with without_memory():
        for theirs, ours in [
            ("maxvit_t", "maxvit_tiny_tf_224"),
            ("mnasnet1_3", "mnasnet_140"),
            ("regnet_x_400mf", "regnetx_004"),
            ("regnet_y_800mf", "regnety_008"),
            ("regnet_y_8gf", "regnety_080"),
        ]:
            assert count(torchvision.models.get_model(theirs)) != count(timm.create_model(ours))
            assert (catalogue.meaning(theirs) or [None])[0] != ours


# ---- models ----


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("yolov8n-resnet-18.yaml", "yolov8n-resnet18.yaml"),
        ("yolov8n-ResNet18.a1_in1k.yaml", "yolov8n-resnet18.a1_in1k.yaml"),
        ("YOLOv8n-StarNet.yaml", "yolov8n-starnet.yaml"),
        ("YOLOV8N-STARNET.yml", "yolov8n-starnet.yml"),
        ("yolov8n_starnet.yaml", "yolov8n-starnet.yaml"),
        ("yolov11n-starnet.yaml", "yolo11n-starnet.yaml"),
        ("yolo11-n-starnet_s1-seg.yaml", "yolo11n-starnet_s1-seg.yaml"),
        ("yolov26n-LSKNet.yaml", "yolo26n-lsknet.yaml"),
        ("yolo8s-seg-VanillaNet-5.yaml", "yolov8s-vanillanet_5-seg.yaml"),
        ("yolov8n-sk-resnet18-p2.yaml", "yolov8n-skresnet18-p2.yaml"),
        ("yolov8n-swin_t.yaml", "yolov8n-swin_tiny_patch4_window7_224.yaml"),
        ("yolov8n-vit-b-16-cls.yaml", "yolov8n-vit_base_patch16_224-cls.yaml"),
        ("yolov8n-timm-resnet18.yaml", "yolov8n-resnet18.yaml"),
        ("yolov8n-timm/resnet18.yaml", "yolov8n-resnet18.yaml"),
        ("yolov8n-hf-hub:timm/resnet18.a1_in1k.yaml", "yolov8n-resnet18.a1_in1k.yaml"),
        ("yolov8n-microsoft/resnet-18.yaml", "yolov8n-resnet18.yaml"),
        ("yolov8-fasternet-s.yaml", "yolov8-fasternet_s.yaml"),
        ("rtdetr-l-resnet-18.yaml", "rtdetr-l-resnet18.yaml"),
        ("some/folder/yolov8n-ResNet18.yaml", "some/folder/yolov8n-resnet18.yaml"),
    ],
)
def test_a_models_name_is_read_and_said(typed, meant, said):
    config = yaml_model_load(typed)
    assert config == yaml_model_load(meant)
    assert config["yaml_file"] == str(Path(meant))
    (line,) = ours(said)
    assert line.startswith(f"yolo_backbones: {Path(typed)} is read as {Path(meant)}")
    yaml_model_load(typed)
    assert len(ours(said)) == 1  # once in a process


def test_the_line_says_why(said):
    yaml_model_load("yolov11n-swin_t.yaml")
    assert ours(said)[0].endswith(
        "yolov11n is Ultralytics' yolo11n; swin_t is timm's swin_tiny_patch4_window7_224, as torchvision calls it"
    )


@pytest.mark.parametrize(
    "name", ["yolo11n-starnet.yaml", "yolov8n-starnet_s1-seg.yaml", "yolov8-edgenext_x_small.yaml"]
)
def test_nothing_is_said_of_a_name_as_it_is(name, said):
    assert yaml_model_load(name)["yaml_file"] == name
    assert ours(said) == []


@pytest.mark.parametrize(
    "name",
    [
        *sorted(detectors.configs()),
        "yolov8n-seg",
        "yolo11n-cls",
        "yolov8n-ghost",
        "yolov8n-cls-resnet50",
        "yolov5n6",
        "yolov8x6",
    ],
)
def test_ultralytics_names_stay_its_own(name, said):
    assert yaml_model_load(f"{name}.yaml") == yaml_model_load.__wrapped__(f"{name}.yaml")
    assert ours(said) == []


@pytest.mark.parametrize(
    "name",
    [
        "sam_b",
        "mobile_sam",
        "FastSAM-s",
        "yolo_nas_s",
        "yolov8n-world-v3",
        "yolo11n-cls-resnet-18",  # Ultralytics' yolo11n-cls-resnet18
        "yolov8n_seg",
        "yolov11n",
        "rt-detr-l",
        "rt-detr-l-resnet18",  # the `yolo` command knows RT-DETR by its name alone
        "yolov8-starnet_s",  # neither yolov8s-starnet nor one of starnet_s1 to s4
        "yolov8-starnet-n",
        "yolov8n-starnet-resnet-18",
        "yolov7n-resnet-18",
        "yolov8n-mobilenetv4",
    ],
)
def test_nothing_else_is_taken(name):
    assert composition.canonical(Path(f"{name}.yaml")) is None
    with pytest.raises((FileNotFoundError, ValueError), match=r"\w+"):
        yaml_model_load(f"{name}.yaml")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("yolov11n.yaml", r"did you mean yolo11n\.yaml\?"),
        ("yolov8n_seg.yaml", r"did you mean yolov8n-seg\.yaml\?"),
        ("yolo11n-cls-resnet-18.yaml", r"did you mean yolo11n-cls-resnet18\.yaml\?"),
        ("ResNet-18.yaml", r"a backbone needs a detector, as in yolov8n-resnet18\.yaml"),
        ("yolov8-timm.yaml", r"timm is a library of networks, .*; take yolov8-resnet18\.yaml or "),
        ("yolov11s-mobilenetv4-seg.yaml", r"series of \d+; take yolo11s-mobilenetv4_conv_small\S*-seg\.yaml or "),
        ("yolov8-starnet-n.yaml", r"no model called yolov8-n; did you mean yolov8n\?"),
    ],
)
def test_what_is_not_taken_gets_the_right_name(name, says):
    with pytest.raises(FileNotFoundError, match=says):
        YOLO(name)


def test_files_come_first(said):
    config = yaml_model_load("yolov8n-starnet_s050.yaml")
    Path("yolov8n-ResNet-18.yaml").write_text(yaml.safe_dump(config | {"nc": 7}))
    assert yaml_model_load("yolov8n-ResNet-18.yaml")["nc"] == 7
    assert ours(said) == []
    Path("yolov8n-resnet18.yaml").write_text(yaml.safe_dump(config | {"nc": 5}))
    assert yaml_model_load("yolov8n-resnet_18.yaml")["nc"] == 5  # of the name that is meant, too


def test_a_folder_is_no_part_of_a_name():
    Path("yolov8n-timm").mkdir()
    with pytest.raises(FileNotFoundError, match="needs a detector"):
        yaml_model_load("yolov8n-timm/resnet18.yaml")


def test_a_checkpoint_has_the_name_that_is_meant(tmp_path):
    model = YOLO("yolov8n_Test-ResNet.yaml")
    model.save("typed.pt")
    again = YOLO("typed.pt").model.yaml
    assert again["backbone"][0][3][0] == "test_resnet"
    assert again["yaml_file"] == "yolov8n-test_resnet.yaml"


def test_compose_reads_both(said):
    assert compose("yolov11n-seg", "ResNet-18") == compose("yolo11n-seg", "resnet18")
    assert ours(said) == [
        "yolo_backbones: yolov11n-seg is Ultralytics' yolo11n-seg",
        "yolo_backbones: ResNet-18 is timm's resnet18",
    ]


# ---- rows ----


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("starnet_s1", r"row 9: starnet_s1 is a network, not a block; train model=yolov8n-starnet_s1\.yaml, or "),
        ("resnet-18", r"row 9: resnet-18 is a network, not a block; .* `yolo-backbones new yolov8n resnet18`"),
        ("SPFF", r"names a block SPFF, which is unknown; did you mean SPPF\?"),
        ("c2f", r"names a block c2f, which is unknown; did you mean C2f\?"),
        ("PConv", r"row 9: .* block PConv, .*; FasterNet's is FasterStage here, and yolov8-fasternet\.yaml has rows"),
        ("Partial_conv3", r"FasterNet's is FasterStage here"),
        ("C3_Star", r"StarNet's is C2f_Star here"),
        ("LSKblock", r"LSKNet's is LSKStage here"),
        ("SKLayer", r"SKNet's is SKConv here"),
        (
            "HGNetV2",
            r"block HGNetV2, .*; if a network is meant: HGNetV2 is a series of \d+; take model=yolov8n-hgnetv2_",
        ),
        ("ConvNeXtBlock", r"take model=yolov8n-convnext_"),
        ("MobileNetV3_InvertedResidual", r"take model=yolov8n-mobilenetv3_"),
        ("ShuffleNetV2", r"no backbone here is a ShuffleNet; take model=yolov8n-mobilenetv4_conv_small_050\.yaml"),
        ("SEBlock", r"block SEBlock, which is unknown; have the file that defines it call yolo_backbones\.register"),
        ("C2f\n", r"block 'C2f\\n', which is unknown; did you mean C2f\?"),
        ("", r"block '', which is unknown; have the file"),
        ("EMA", r"block EMA, which is unknown; have the file"),
        ("blocks.EMA", r"block blocks\.EMA, which is unknown; have the file"),
        ("nn.Conv2D", r"row 9: torch\.nn has no Conv2D; did you mean nn\.Conv2d\?"),
        ("nn.ConvNeXtBlock", r"row 9: torch\.nn has no ConvNeXtBlock$"),
        ("nn.", r"row 9: torch\.nn has no layer without a name$"),
        ("torch.nn.Conv2d", r"row 9: torch\.nn\.Conv2d is written nn\.Conv2d in a row$"),
        ("torch.nn.Conv2D", r"block torch\.nn\.Conv2D, which is unknown"),
        ("torch.Conv2d", r"block torch\.Conv2d, which is unknown"),
        (None, r"row 9: block=None has to be a block's name"),
        (5, r"row 9: block=5 has to be a block's name"),
        (["Conv"], r"row 9: block=\['Conv'\] has to be a block's name"),
        (
            "torchvision.ops.DeformConv",
            r"torchvision\.ops has no DeformConv; did you mean torchvision\.ops\.DeformConv2d",
        ),
    ],
)
def test_a_row_of_what_is_no_block(stock, block, says):
    config = yaml_model_load("yolov8n.yaml" if stock else "yolov8n-starnet.yaml")
    config["backbone"][9][2] = block
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=says):
        YOLO("mine.yaml")


@pytest.mark.parametrize("stock", [True, False], ids=["stock", "ours"])
@pytest.mark.parametrize("where", [0, 5, -1])
@pytest.mark.parametrize("row", [None, 3, "Conv", [], [-1, 1, "Conv"], {"block": "Conv"}])
def test_a_row_that_is_none(stock, where, row):
    config = yaml_model_load("yolov8n.yaml" if stock else "yolov8n-starnet.yaml")
    part = config["head" if where < 0 else "backbone"]
    i = where if where >= 0 else len(config["backbone"]) + len(part) - 1
    part[where] = row
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=rf"row {i} is .*, where \[from, repeats, block, \[arguments\]\] belongs"):
        YOLO("mine.yaml", task="detect")


def test_rows_as_tuples_keep_the_error_of_what_is_wrong():
    config = yaml_model_load("yolov8n.yaml")
    config["backbone"] = [tuple(row) for row in config["backbone"]]
    config["head"][-1] = ([15, 18, 99], 1, "Detect", ["nc"])
    with pytest.raises(IndexError):
        DetectionModel(config, verbose=False)


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("rows", [None, 3, {}])
def test_rows_that_are_none_keep_the_error_of_ultralytics_or_get_a_sentence(part, rows):
    config = yaml_model_load("yolov8n.yaml") | {part: rows}
    with pytest.raises((TypeError, ValueError, KeyError)) as caught:
        DetectionModel(config)
    assert "check_parts" not in [frame.name for frame in caught.traceback]


@pytest.mark.parametrize("key", ["C9", "C2f", 9], ids=["no row's", "known", "a number"])
def test_a_key_error_about_something_else_stays_what_it_is(key):
    assert block_names.explain(KeyError(key), yaml_model_load("yolov8n.yaml")) is None
    assert block_names.explain(AttributeError(name=str(key)), yaml_model_load("yolov8n.yaml")) is None


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_what_families_are_called_elsewhere_is_a_block_here(family):
    block_rows.load()
    for theirs, block in family.also_called.items():
        assert theirs == theirs.lower().replace("_", "")
        assert block in registry.blocks()
        assert configs.models()[f"yolov8-{family.name}"]


# ---- the command ----


def call(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main(args)
    return ended.value.code, *capsys.readouterr()


def test_info_reads_it(capsys):
    code, out, err = call(capsys, "info", "swin_t")
    assert code == 0 and "swin_tiny_patch4_window7_224" in out.splitlines()[0]
    assert "swin_t is timm's swin_tiny_patch4_window7_224, as torchvision calls it" in err


@pytest.mark.parametrize(
    ("pattern", "listed"),
    [
        ("resnet-18", ["resnet18"]),
        ("vit_b_16", ["vit_base_patch16_224"]),
        ("VanillaNet13", ["vanillanet_13"]),
        ("GhostNet-v3", ["ghostnetv3_050", "ghostnetv3_100", "ghostnetv3_130", "ghostnetv3_160"]),
    ],
)
def test_list_reads_it(pattern, listed, capsys):
    code, out, _ = call(capsys, "list", pattern)
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:]] == listed


def test_list_offers(capsys):
    code, _, err = call(capsys, "list", "shufflenet_v2_x1_0")
    assert code == 1 and "no backbone here is a ShuffleNet; take mobilenetv4_conv_small_050" in err


def test_new_reads_it(capsys):
    code, _, _ = call(capsys, "new", "yolov11n", "ResNet-18")
    assert code == 0 and yaml_model_load("yolo11n-resnet18.yaml")["backbone"][0][3][0] == "resnet18"
    assert Path("yolo11n-resnet18.yaml").exists()
