"""Mistakes in a model's YAML that hung, filled the memory, or ended in errors of Python's: each in one sentence now."""

import pytest
import yaml
from conftest import ROOT
from ultralytics.nn.tasks import DetectionModel

ROWS = [
    ("starnet", 4, [-1, 3, "StarStage", [None]], "row 4: StarStage: c2=None has to be a whole number"),
    ("starnet", 4, [-1, "3", "StarStage", [256]], "row 4: StarStage: repeats='3' has to be a whole number from 1"),
    ("starnet", 4, [-1, 10**9, "StarStage", [256]], "row 4: StarStage: repeats=1000000000 has to be"),
    ("starnet", 4, [-1, 3, "StarStage", [10**9]], "row 4: StarStage: c2=1000000000 has to be at most"),
    ("starnet", 4, [-1, 3, "StarStage", [10**5000]], "row 4: StarStage: c2=a number of thousands of digits has to be"),
    ("starnet", 4, [-1, 3, "StarStage", [256, 10**9]], "row 4: StarStage: mlp_ratio=1000000000 has to be at most"),
    ("starnet", 4, [-1, 3, "StarStage", [256, 60000]], r"row 4: StarStage: c2\*mlp_ratio=\d+ has to be at most"),
    ("starnet", 4, [-1, 3, "StarStage", [256, 2, 0.0, "relu", 100001]], "row 4: StarStage: k=100001 has to be at most"),
    (
        "starnet",
        4,
        [-1, 3, "StarStage", [256, 2, 0.0, "relu", 257]],
        "row 4: StarStage: k=257 .* at most 255",
    ),
    ("starnet", 4, [9, 3, "StarStage", [256]], "row 4: StarStage: from=9 has to be a row's number from 0 to 3"),
    ("starnet", 4, [[-1, 2], 3, "StarStage", [256]], r"row 4: StarStage: from=\[-1, 2\] has to be one row"),
    ("starnet", 0, [-1, 1, "StarStem", [64, 3, 2, "leaky relu"]], "row 0: StarStem: act='leaky relu' is neither"),
    ("starnet", 0, [-1, 1, "StarStem", [64, 3, 2, "relu", "no"]], "row 0: StarStem: bias='no' has to be True or False"),
    ("starnet", 0, [-1, 1, "Conv", [64, 60001, 2]], "row 0: Conv: .* parameters; a row may have"),
    ("starnet", 4, [-1, 1, "Concat", [1]], r"row 4: Concat: \[1\] cannot be built"),
    ("starnet", 4, [-1, 1, "nn.Foo", [1]], "row 4: torch.nn has no Foo"),
    ("starnet", 4, [-1, 1, "Nonsense", [1]], "row 4: .* a block Nonsense, which is unknown; .*YOLO_BACKBONES_BLOCKS"),
    ("starnet", 4, [-1, 1, "9" * 5000, [1]], "row 4: block='9+.*9' is longer than any block's name"),
    ("starnet", 4, [-1, 1, ["StarStage"], [1]], "row 4: block=.* has to be a block's name"),
    ("starnet", 4, "StarStage", r"row 4 is 'StarStage', where \[from, repeats, block"),
    ("skconv", 4, [-1, 2, "SKStage", [256, 1, 10**4, 2]], "row 4: SKStage: M=10000 has to be .* at most 16"),
    ("skconv", 4, [-1, 2, "SKStage", [256, 1, 2, 8, 1e-300]], r"row 4: SKStage: c2/r=6.4e\+301|6\.39+e\+301 has to be"),
    ("vanillanet", 4, [-1, 1, "VanillaBlock", [256, 1, 10**4]], "row 4: VanillaBlock: act_num=10000 has to be"),
    ("fasternet", 0, [-1, 1, "FasterEmbed", [64, 10**4]], "row 0: FasterEmbed: k=10000 has to be .* at most 255"),
]


def config(family: str) -> dict:
    found = yaml.safe_load((ROOT / "cfg" / f"yolov8-{family}.yaml").read_text(encoding="utf-8"))
    return {**found, "scale": "n", "yaml_file": f"yolov8n-{family}.yaml"}


def refused(mistaken: dict, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says) as error:
        DetectionModel(mistaken, verbose=False)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


@pytest.mark.parametrize(("family", "i", "row", "says"), ROWS, ids=[says[:40] for *_, says in ROWS])
def test_a_mistaken_row(family, i, row, says):
    mistaken = config(family)
    mistaken["backbone"][i] = row
    refused(mistaken, says)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("nc", "80", "nc: '80', where a whole number"),
        ("nc", 10**9, "nc: 1000000000, where"),
        ("scales", {"n": [0.33, 0]}, r"the scale 'n': \[0.33, 0\], where three numbers"),
        ("scales", [1, 2, 3], r"scales: \[1, 2, 3\], where"),
        ("head", None, "head: None, where a list of rows belongs"),
        ("activation", "open('FUZZED', 'w')", "activation: .* where a layer such as"),
        ("activation", "nn.ReLU(open('FUZZED', 'w'))", "activation: .* where a layer such as"),
        ("activation", "relu", "activation: 'relu', where a layer such as"),
    ],
)
def test_a_mistake_beside_the_rows(tmp_path, monkeypatch, key, value, says):
    monkeypatch.chdir(tmp_path)
    refused({**config("starnet"), key: value}, says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("act", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1, inplace=True)"])
def test_an_activation_that_ultralytics_knows(act):
    DetectionModel({**config("starnet"), "activation": act}, verbose=False)


def test_maps_that_do_not_fit_are_named_with_their_row():
    mistaken = config("starnet")
    mistaken["backbone"][5] = [-1, 1, "StarDown", [512, 3, 1]]  # stride 1: P4 is as large as P3
    mistaken["head"][1] = [[-1, 4], 1, "Concat", [1]]
    mistaken["head"][4] = [[-1, 6], 1, "Concat", [1]]
    refused(mistaken, r"row 14: Concat cannot take maps of 1x128x64x64, 1x128x32x32 \(.*\); change")


def test_lists_that_repeat_themselves_are_no_trouble():
    """YAML's anchors make lists of lists that would take a lifetime to write out."""
    bomb: list = [1]
    for _ in range(60):
        bomb = [bomb, bomb]
    mistaken = config("starnet")
    mistaken["backbone"][4][3].append(bomb)
    refused(mistaken, "row 4: StarStage")
