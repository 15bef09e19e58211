"""How a composed name is read, and what is said of one that cannot be."""

from pathlib import Path

import pytest
import yaml
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_backbones import compose
from yolo_backbones.backbones.network import Network
from yolo_backbones.composition import resolve
from yolo_backbones.configs import CFG


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "scale", "head", "first"),
    [
        ("yolov8n-starnet_s1.yaml", "n", "Detect", "starnet_s1"),
        ("yolo11s-fasternet_t0-seg.yaml", "s", "Segment", "fasternet_t0"),
        ("yolo11s-seg-fasternet_t0.yaml", "s", "Segment", "fasternet_t0"),
        ("yolov8m-vanillanet_6-obb.yml", "m", "OBB", "vanillanet_6"),
        ("yolo26x-resnet18-pose.yaml", "x", "Pose26", "resnet18"),
        ("yolov10n-resnet18.yaml", "n", "v10Detect", "resnet18"),
        ("yolov9t-resnet18.yaml", "", "Detect", "resnet18"),
        ("yoloe-v8s-resnet18-seg.yaml", "s", "YOLOESegment", "resnet18"),
        ("yolov8-starnet_s1-p2.yaml", "", "Detect", "starnet_s1"),
        ("rtdetr-l-resnet18.yaml", "", "RTDETRDecoder", "resnet18"),
        ("rtdetr-resnet50-starnet_s1.yaml", "", "RTDETRDecoder", "starnet_s1"),
        ("some/folder/yolov8l-resnet50.yaml", "l", "Detect", "resnet50"),
    ],
)
def test_a_name_is_a_base_and_a_backbone(name, scale, head, first):
    config = resolve(Path(name))
    assert (config["scale"], config["head"][-1][2], config["yaml_file"]) == (scale, head, name)
    assert config["backbone"][0][2:][1][0] == first
    assert yaml_model_load(name) == config


@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolov8n-ghost.yaml", "yolov8n-cls-resnet50.yaml", "rtdetr-resnet50.yaml"]
)
def test_ultralytics_names_stay_its_own(name):
    assert yaml_model_load(name) == yaml_model_load.__wrapped__(name)


def test_files_come_first(elsewhere):
    Path("yolov8n-resnet18.yaml").write_text((CFG / "yolov8-starnet.yaml").read_text().replace("nc: 80", "nc: 7"))
    assert yaml_model_load("yolov8n-resnet18.yaml")["nc"] == 7
    assert yaml_model_load("yolov8n-starnet.yaml")["backbone"][0][2] == "StarStem"  # shipped, not composed


def test_a_family_is_scaled_by_the_base(elsewhere):
    sizes = [sum(p.numel() for p in YOLO(f"yolo11{scale}-starnet.yaml").model.parameters()) for scale in "nsm"]
    assert sizes == sorted(sizes) and sizes[2] > 4 * sizes[0]


def test_a_family_is_never_wider_than_the_base():
    slim, stock = (DetectionModel(name, verbose=False) for name in ("yolov9t-starnet.yaml", "yolov9t.yaml"))
    assert sum(p.numel() for p in slim.parameters()) < 1.2 * sum(p.numel() for p in stock.parameters())


def test_composed_in_yolov8_a_family_is_the_shipped_config():
    shipped, composed = yaml_model_load("yolov8n-starnet.yaml"), compose("yolov8n", "starnet")
    assert composed["backbone"] == shipped["backbone"] and composed["head"] == shipped["head"]


def test_a_composed_config_keeps_its_scale_in_a_file_of_any_name(elsewhere):
    config = compose("yolov8m-seg", "starnet_s050")
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    assert count(YOLO("mine.yaml").model) == count(YOLO("yolov8m-starnet_s050-seg.yaml").model)


def test_a_file_named_for_a_scale_that_it_lacks_says_so(elsewhere):
    Path("yolov8s-mine.yaml").write_text(yaml.safe_dump(compose("yolov8m", "starnet_s050")))
    with pytest.raises(ValueError, match=r"yolov8s-mine\.yaml asks for scale s, and the file has m; name it"):
        YOLO("yolov8s-mine.yaml")


def test_a_base_may_be_a_file_of_the_users_own(elsewhere):
    own = yaml_model_load("yolov8n.yaml")
    own["nc"] = 3
    Path("yolov8s-mine.yaml").write_text(yaml.safe_dump(own))
    config = compose("yolov8s-mine.yaml", "resnet18")
    assert (config["nc"], config["scale"]) == (3, "s")
    assert DetectionModel(config, verbose=False).yaml["nc"] == 3


def test_the_config_is_ones_own():
    compose("yolov8n", "starnet_s1")["backbone"][0][3][2]["strides"].append(64)
    compose("yolov8n", "starnet_s1")["head"].clear()
    assert compose("yolov8n", "starnet_s1")["backbone"][0][3][2] == {"strides": [8, 16, 32]}
    assert compose("yolov8n", "starnet_s1")["head"] == yaml_model_load("yolov8n.yaml")["head"]


# ---- what is said ----


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "yolov8n-starnet_s9.yaml",
            FileNotFoundError,
            r"'yolov8n-starnet_s9.yaml' does not exist; .*yolov8n-starnet_s4.yaml",
        ),
        ("yolov8n-resnet19.yaml", FileNotFoundError, r"did you mean .*yolov8n-resnet18\.yaml"),
        ("yolo11s-fastrnet_t0-seg.yaml", FileNotFoundError, r"did you mean .*yolo11s-fasternet_t0-seg\.yaml"),
        (
            "yolov8n-starnet_s1-fasternet_t0.yaml",
            ValueError,
            r"names 2 backbones, starnet_s1 and fasternet_t0, .* leave one",
        ),
        ("yolov8z-resnet18.yaml", FileNotFoundError, r"the scales of yolov8 are n, s, m, l and x, as in yolov8n"),
        (
            "starnet_s1.in1k.yaml",
            FileNotFoundError,
            r"a backbone needs a detector, as in yolov8n-starnet_s1\.in1k\.yaml",
        ),
        ("yolov7n-resnet18.yaml", FileNotFoundError, r"has no model called yolov7n; did you mean .*yolov8"),
        (
            "yolov9c-resnet18-pose.yaml",
            FileNotFoundError,
            r"no model called yolov9c-pose; yolov9c comes as .*yolov9c-seg",
        ),
        ("yolov8n-resnet18-sog.yaml", FileNotFoundError, r"no model called yolov8n-sog; did you mean yolov8-seg"),
        (
            "rtdetr-resnet50-resnet101.yaml",
            ValueError,
            r"can be read as .* or as rtdetr-resnet50 with backbone resnet101",
        ),
        (
            "yolov8n-vanillanet_13_x1_5_ada_pool.yaml",
            ValueError,
            r"no map at stride 8, .*serves classification \(-cls\) alone",
        ),
        ("yolo11n-starnet-cls-resnet18.yaml", ValueError, r"single row TorchVision"),
        (
            "yolov8n-starnet_s1.in22k.yaml",
            ValueError,
            r"no published weights with the tag in22k; choose starnet_s1\.in1k$",
        ),
        ("yolov8n-starnet_s050.in1k.yaml", ValueError, r"starnet_s050 without a tag is untrained"),
        ("yolov8n-starnet.in1k.yaml", ValueError, r"starnet is a family, .* has no published weights; .*starnet_s1"),
    ],
)
def test_a_name_that_cannot_be_built_says_why(name, error, message):
    with pytest.raises(error, match=message) as raised:
        YOLO(name)
    assert "\n" not in str(raised.value) and ". " not in str(raised.value)


def test_a_name_without_its_suffix_gets_it():
    with pytest.raises(FileNotFoundError, match=r"did you mean yolov8n-starnet_s1\.in1k\.yaml\?"):
        YOLO("yolov8n-starnet_s1.in1k")
    with pytest.raises(FileNotFoundError, match=r"yolov8n-resnet18\.yaml is the untrained model"):
        YOLO("yolov8n-resnet18.pt")


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"type": "StarNet", "depth": 2}, r"says backbone: .*; train model=yolov8n-starnet\.yaml, or have"),
        (
            "models/fasternet.py",
            r"backbone: models/fasternet\.py, which Ultralytics does not read; .*yolov8n-fasternet\.yaml",
        ),
        ({"name": "resnet50"}, r"model=yolov8n-resnet50\.yaml"),
        ("frobnicate", r"yolo-backbones new yolov8n starnet_s1`"),
    ],
)
def test_a_backbone_that_is_no_list_of_rows(backbone, message):
    config = yaml_model_load("yolov8n.yaml")
    Path("old.yaml").write_text(yaml.safe_dump({**config, "backbone": backbone}))
    with pytest.raises(ValueError, match=message) as raised:
        YOLO("old.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("yolov8n", "starnet_s9"), ValueError, r"no backbone is called starnet_s9; did you mean starnet_s"),
        (("nofile.yaml", "starnet"), FileNotFoundError, r"there is no file nofile\.yaml, and Ultralytics has no model"),
        (("yolov8n", "frobnicate"), ValueError, r"no backbone is called frobnicate; `yolo-backbones list` shows all"),
        (
            ("yolov8q", "starnet"),
            FileNotFoundError,
            r"no model called yolov8q; the scales of yolov8 are n, s, m, l and x",
        ),
        (
            ("yolov8n", "starnet_s1.in1k", "x.pth"),
            ValueError,
            r"asks for published weights, and weights='x.pth' for others",
        ),
        (("yolov8n", "starnet_s1", "x.pth"), FileNotFoundError, r"weights='x.pth': there is no such file"),
        (("yolov8n", "starnet", "x.pth"), ValueError, r"weights='x.pth': starnet is a family"),
    ],
)
def test_compose_says_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        compose(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone: []\nhead: []", r"yolov8n-mine\.yaml is no model config"),
        (
            "scales:\nbackbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, Conv, [64, 3, 2]]]\nhead: []",
            r"none of the maps",
        ),
    ],
)
def test_a_base_of_the_users_own_that_is_none_says_so(text, message, elsewhere):
    Path("yolov8n-mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        compose("yolov8n-mine.yaml", "starnet_s050")


@pytest.mark.parametrize(("row", "name"), [(0, "Network"), (4, "FeatureMap")])
def test_a_network_is_not_repeated(row, name, elsewhere):
    config = compose("yolov8n", "starnet_s050")
    config["backbone"][row][1] = 3
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=rf"{name}: the YAML row repeats it 3 times, .* write 1"):
        YOLO("mine.yaml")


def test_the_weights_of_a_base_that_was_composed_are_not_fetched(elsewhere):
    config = compose("yolov8n", "test_resnet")
    config["backbone"][0][3][2]["weights"] = "gone.pth"
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    assert compose("mine.yaml", "starnet_s050")["backbone"][0][3][0] == "starnet_s050"


def test_weights_are_a_file(elsewhere):
    with pytest.raises(FileNotFoundError, match=r"weights='': there is no such file"):
        compose("yolov8n", "resnet18", "")  # the folder that one is in


@pytest.mark.parametrize(
    ("family", "network"), [("starnet", "starnet_s1"), ("sknet", "sknet_50"), ("skconv", "sknet_50")]
)
def test_a_family_asked_for_weights_names_its_networks_that_have_them(family, network):
    for asked in ({"backbone": f"{family}.in1k"}, {"backbone": family, "weights": "some.pth"}):
        with pytest.raises(ValueError, match=rf"{family} is a family, .*networks have: .*{network}") as error:
            compose("yolov8n", **asked)
        listed = str(error.value).partition("have: ")[2].split(", ")
        assert not {"starnet", "skconv", "sknet", "starnet_s050", "sknet_26"} & {*listed}


def test_a_family_is_no_whole_network():
    with pytest.raises(ValueError, match=r"^starnet is a family, .*take one of: starnet_s1"):
        Network(3, "starnet", [64], {"strides": [8]})
