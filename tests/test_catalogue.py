"""The table of backbones: complete, well-formed, and true where that can be told without building all of it."""

import math
import re
from pathlib import Path

import pytest
import timm
import torch

from yolo_backbones import catalogue, configs, names
from yolo_backbones.catalogue import Entry
from yolo_backbones.families import families

VARIANTS = {name: variant for family in families().values() for name, variant in family.variants.items()}
ENTRIES = catalogue.entries()
FAMILIES = [entry.name for entry in ENTRIES.values() if entry.source == "family"]
# Of each way in which timm's networks name and number their maps.
SAMPLE = ["resnet18", "convnext_atto", "mobilenetv3_small_100", "regnetx_002", "vgg11", "edgenext_xx_small"]


def test_imports_neither_torch_nor_timm(run_cli):
    code = "import sys; from yolo_backbones import catalogue; catalogue.entries(); print(*sys.modules)"
    loaded = set(run_cli(["python", "-c", code]).stdout.split())
    assert "yolo_backbones.catalogue" in loaded
    assert not loaded & {"torch", "timm", "ultralytics", "numpy", "yaml"}


def test_families_come_first_then_our_own_networks_then_timms():
    sources = [entry.source for entry in ENTRIES.values()]
    assert sources == sorted(sources, key=["family", "own", "timm"].index)
    assert all(name == entry.name for name, entry in ENTRIES.items())


def test_every_shipped_family_is_there():
    assert {f"yolov8-{name}" for name in FAMILIES} == set(configs.models())
    assert {entry.family for entry in ENTRIES.values() if entry.scaled} == {*families()}
    assert ENTRIES["sknet"].same_as == "skconv" and not ENTRIES["skconv"].same_as
    for name in FAMILIES:
        assert ENTRIES[name].url.startswith("https://arxiv.org/abs/")
        assert list(catalogue.scales(name)) == list("nsmlx")


def test_every_published_network_is_there():
    own = {entry.name: entry for entry in ENTRIES.values() if entry.source == "own"}
    assert own.keys() == VARIANTS.keys()
    assert {name: entry.top1 for name, entry in own.items()} == {name: v.top1 for name, v in VARIANTS.items()}
    for family in families().values():
        for name, variant in family.variants.items():
            assert own[name].family == family.name
            assert own[name].merges == (variant.merged is not None)
            assert own[name].release == (family.release.page if family.release and own[name].tags else "")


def test_timm_has_every_network_and_tag_that_we_say_it_has():
    of_timm = {entry.name: entry for entry in ENTRIES.values() if entry.source == "timm"}
    assert of_timm.keys() <= {*timm.list_models()}
    in_timm = {*timm.list_pretrained()}
    assert not [name for entry in of_timm.values() for name in entry.names[1:] if name not in in_timm]


def test_we_have_every_network_and_tag_that_the_oldest_timm_we_allow_has():
    if timm.__version__ == "1.0.31":
        names = {*timm.list_models()}
        assert names <= ENTRIES.keys()
        assert {*timm.list_pretrained()} <= {name for entry in ENTRIES.values() for name in entry.names}
    assert sum(entry.source == "timm" for entry in ENTRIES.values()) > 1300


def test_the_default_tag_comes_first():
    for entry in ENTRIES.values():
        if entry.source == "timm" and entry.tags:
            assert entry.tags[0] == timm.get_pretrained_cfg(entry.name).tag, entry.name


def test_every_line_is_well_formed():
    listed = [entry for entry in ENTRIES.values() if entry.source != "family"]
    assert Path(catalogue.__file__).with_name("catalogue.csv") == catalogue.FILE
    with open(catalogue.FILE, encoding="utf-8") as file:
        assert len(file.readlines()) == 1 + len(listed)  # no name stands there twice
    for entry in listed:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.name), entry  # the grammar of names needs "-" and "." for itself
        assert entry.source in {"own", "timm"}, entry
        assert len({*entry.tags}) == len(entry.tags) and not {"-", "."} & {*"".join(entry.tags)}, entry
        assert not entry.url or entry.url.startswith("https://") or entry.url.startswith("http://"), entry
        if not entry.reason:
            assert entry.parameters is not None and entry.parameters > 0, entry
            assert entry.gflops is not None and entry.gflops > 0, entry
            assert len(entry.strides) == len(entry.channels) > 0, entry
            assert list(entry.strides) == sorted({*entry.strides}), entry
            assert entry.device in {"cpu", "meta"}, entry
            # What has these maps of its own needs no pyramid, and the others do; 7, 14 and 28 pass for them.
            assert entry.pyramid != ({8, 16, 32} <= {2 ** round(math.log2(s)) for s in entry.strides}), entry


@pytest.mark.parametrize("name", [name for name in VARIANTS if not ENTRIES[name].reason])
def test_strides_and_channels_of_our_own_networks(name):
    with torch.device("meta"):
        network = VARIANTS[name].build().eval()
        maps = network.forward_features(torch.empty(1, 3, 128, 128))
    last = {128 // x.shape[-1]: x.shape[1] for x in maps}
    entry = ENTRIES[name]
    assert (entry.strides, entry.channels) == (tuple(last), tuple(last.values()))


@pytest.mark.parametrize("name", SAMPLE)
def test_strides_and_channels_of_timms_networks(name):
    with torch.device("meta"):
        info = timm.create_model(name, features_only=True).feature_info
    last = dict(zip(info.reduction(), info.channels()))
    entry = ENTRIES[name]
    assert (entry.strides, entry.channels) == (tuple(last), tuple(last.values()))


def test_find():
    assert catalogue.find("starnet_s1") is catalogue.find("starnet_s1.in1k") is ENTRIES["starnet_s1"]
    assert names.split_tag("starnet_s1.in1k") == ("starnet_s1", "in1k")
    assert names.split_tag("starnet") == ("starnet", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("starnet_s5", "no backbone is called starnet_s5; did you mean starnet_s"),
        ("ConvNext_atto_", "did you mean convnext_atto"),
        ("qqqqqqqq", "`yolo-backbones list` shows all"),
        ("starnet_s1.in1", "starnet_s1 has no published weights with the tag in1; choose starnet_s1.in1k"),
        ("starnet.in1k", "starnet is a family.*; its published sizes: starnet_s1, starnet_s2"),
        ("sknet_26.in1k", "sknet_26 has no published weights; without a tag it starts from random ones"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(name, message):
    with pytest.raises(ValueError, match=message) as error:
        catalogue.find(name)
    assert "\n" not in str(error.value)


def test_papers_are_numbers_or_addresses():
    addresses = {
        "2403.19967": "https://arxiv.org/abs/2403.19967",
        "arXiv:2403.19967": "https://arxiv.org/abs/2403.19967",
        "https://example.org/paper": "https://example.org/paper",
        "": "",
    }
    assert {paper: Entry("some", "timm", paper=paper).url for paper in addresses} == addresses
