"""Alignment: a student's maps drawn to its teacher's, on pictures without labels."""

import copy
import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from conftest import run
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs, lock, shapes
from yolo_backbones.align import align, checkpoint, detectors, junction, pictures
from yolo_backbones.align.adapters import inserted
from yolo_backbones.align.distance import Moments, Unexplained, squared
from yolo_backbones.align.scale import normalised

FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})
FAST = {"imgsz": 64, "batch": 4, "epochs": 2, "workers": 0, "device": "cpu", "plots": False}
LONGER = {"epochs": 10, "batch": 2, "warmup_epochs": 1, "mosaic": 0, "lr0": 4e-3}  # sixty steps


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    shapes.draw(folder / "set", train=12, val=12, imgsz=64)
    return folder / "set" / "images" / "train"


@pytest.fixture(scope="module")
def drawn(images) -> Path:
    """The data set that `images` are the training split of: the distance is measured on as many others."""
    file = images.parents[2] / "data.yaml"
    names = dict(enumerate(shapes.CLASSES))
    file.write_text(f"path: {images.parents[1]}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    return file


def teach(model: str, images: Path, folder: Path) -> Path:
    """Write a checkpoint whose maps vary as a trained detector's do: BatchNorm has these pictures' statistics."""
    torch.manual_seed(0)
    network = YOLO(model)
    pixels = torch.stack([torch.from_numpy(cv2.imread(str(file))[..., ::-1].copy()) for file in images.glob("*")])
    norms = [module for module in network.model.modules() if isinstance(module, nn.BatchNorm2d)]
    network.model.train()
    for momentum in (1.0, 1.0, 0.03):  # at once, then as Ultralytics sets it
        for norm in norms:
            norm.momentum = momentum
        with torch.no_grad():
            network.model(pixels.permute(0, 3, 1, 2) / 255)
    file = folder / f"{Path(model).stem}-teacher.pt"
    network.save(file)
    return file


@pytest.fixture(scope="module")
def teacher(images, tmp_path_factory) -> Path:
    return teach("yolov8n.yaml", images, tmp_path_factory.mktemp("teacher"))


# ---- where two detectors become the same ----


@pytest.mark.parametrize("model", FAMILIES)
def test_families_meet_yolov8_at_rows_4_6_and_8(model):
    where = junction.find(DetectionModel(f"{model}.yaml", verbose=False), DetectionModel("yolov8n.yaml", verbose=False))
    assert where.student_maps == where.teacher_maps == (4, 6, 8)
    assert [ours for ours, _ in where.shared] == list(range(9, 23))


@pytest.mark.parametrize(
    ("student", "teacher", "rows"),
    [
        ("yolo11n-starnet", "yolo11n", (4, 6, 8)),
        ("yolo26n-fasternet-seg", "yolo26n-seg", (4, 6, 8)),
        ("yolov8n-vanillanet-p2", "yolov8n-p2", (2, 4, 6, 8)),
        ("yolov8n-skconv-p6", "yolov8n-p6", (4, 6, 8)),
    ],
)
def test_other_detectors_meet_where_their_heads_begin(student, teacher, rows):
    trained = YOLO(f"{teacher}.yaml").model
    where = junction.find(detectors.like(trained, f"{student}.yaml"), trained)
    assert where.student_maps == where.teacher_maps == rows


def test_rows_that_are_counted_otherwise_meet_as_well(tmp_path):
    """One row more in front of the backbone: every index of the head is one higher."""
    from ultralytics.nn.tasks import yaml_model_load

    config = yaml_model_load("yolov8n.yaml")
    moved = copy.deepcopy(config)
    moved["backbone"].insert(0, [-1, 1, "nn.Identity", []])
    moved["backbone"][3][2] = "C3"  # was row 2, C2f
    for row in moved["head"]:
        row[0] = [j + 1 if j >= 0 else j for j in row[0]] if isinstance(row[0], list) else row[0]
    where = junction.find(DetectionModel(moved, verbose=False), DetectionModel(config, verbose=False))
    assert where.maps == ((3, 2),)
    assert where.shared[0] == (4, 3)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ("yolov8n.yaml", "yolov8n.yaml", "same blocks in every row"),
        ("yolov8n-starnet-seg.yaml", "yolov8n.yaml", "the student's head is Segment, the teacher's Detect"),
        ("yolov8s-starnet.yaml", "yolov8n.yaml", "is of scale s, its teacher of scale n"),
        (
            "yolov8n-resnet18.yaml",
            "yolov8n.yaml",
            "gives maps of 128, 256, 512 channels.*have 64, 128, 256; --adapters",
        ),
        ("yolo11n-starnet.yaml", "yolov8n.yaml", "reads row|same detector"),
    ],
)
def test_what_does_not_fit_is_refused(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        detectors.student_of(YOLO(teacher).model, student, adapters=False)


@pytest.mark.parametrize("name", ["nowhere/teacher.pt", "yolov8n.pt"], ids=["a file", "to be downloaded"])
def test_a_checkpoint_that_cannot_be_had_says_what_to_give(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", unreachable)
    for opened in (lambda: detectors.load_teacher(name), lambda: detectors.student_of(None, name, adapters=False)):
        with pytest.raises(FileNotFoundError, match=f"no file {name}, .*; give the path of a trained checkpoint"):
            opened()


def unreachable(*args, **kwargs):
    raise ConnectionError("no network")


def test_a_teacher_has_to_be_a_trained_detector(tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint; name a trained"):
        detectors.load_teacher("yolov8n.yaml")
    YOLO("yolov8n-cls.yaml").save(tmp_path / "cls.pt")
    with pytest.raises(ValueError, match="no detector whose head reads maps"):
        detectors.load_teacher(str(tmp_path / "cls.pt"))


def test_adapters_leave_every_row_reading_what_it_read():
    from ultralytics.nn.tasks import yaml_model_load

    config = yaml_model_load("yolov8n.yaml")
    adapted = inserted(config, {4: 32, 8: 128})
    assert [row[2] for row in adapted["backbone"]] == [
        "Conv", "Conv", "C2f", "Conv", "C2f", "Conv", "Conv", "C2f", "Conv", "C2f", "Conv", "SPPF",
    ]  # fmt: skip
    assert adapted["backbone"][5] == [-1, 1, "Conv", [128, 1, 1]]
    sources = [row[0] for row in adapted["head"]]
    assert sources == [-1, [-1, 7], -1, -1, [-1, 5], -1, -1, [-1, 14], -1, -1, [-1, 11], -1, [17, 20, 23]]
    DetectionModel(adapted, verbose=False)


# ---- the distance ----


def test_moments_are_those_of_all_pixels():
    torch.manual_seed(0)
    whole = torch.randn(6, 3, 5, 7) * torch.tensor([1.0, 10.0, 0.0])[:, None, None] + 4
    moments = Moments()
    moments.add([whole[:2]])
    moments.add([whole[2:]])
    expected = whole.transpose(0, 1).flatten(1).double().var(1, unbiased=False)
    torch.testing.assert_close(moments.variances()[0], expected, rtol=1e-4, atol=1e-5)
    deviation = moments.deviations()[0]
    assert deviation[2] == pytest.approx(0.05 * expected.sqrt().mean().item(), rel=1e-3)  # a channel that is constant
    torch.testing.assert_close(deviation[:2].double(), expected[:2].sqrt(), rtol=1e-4, atol=1e-4)


def test_distances_are_in_units_of_the_teachers_deviation():
    theirs = torch.zeros(2, 2, 3, 3)
    ours = theirs + torch.tensor([1.0, 10.0])[:, None, None]
    (found,) = squared([ours], [theirs], [torch.tensor([1.0, 5.0])])
    assert found.item() == pytest.approx((1 + 4) / 2)


def test_unexplained_is_0_for_the_same_and_1_for_the_mean():
    torch.manual_seed(0)
    theirs = torch.randn(4, 3, 6, 6) * 3 + 1
    same, mean = Unexplained(), Unexplained()
    same.add([theirs], [theirs])
    mean.add([theirs.mean((0, 2, 3), keepdim=True).expand_as(theirs)], [theirs])
    assert same.shares() == [0]
    assert mean.shares()[0] == pytest.approx(1, abs=1e-5)


# ---- pictures ----


def test_pictures_come_from_folders_globs_lists_and_data_sets(images, few_shapes, tmp_path):
    files = {str(file) for file in images.glob("*.jpg")}
    (tmp_path / "list.txt").write_text("\n".join(sorted(files)))
    for source in (images, f"{images}/*.jpg", tmp_path / "list.txt", *[sorted(files)]):
        found = pictures.find(source if isinstance(source, list) else [source])
        assert set(found.train) | set(found.held_out) == files
        assert not set(found.train) & set(found.held_out)
        assert len(found.held_out) == 1
    found = pictures.find([few_shapes])
    assert (len(found.train), len(found.held_out)) == (8, 4)
    assert all("/train/" in file for file in found.train)


def test_unreadable_pictures_are_named_and_left_out(images, tmp_path):
    for name, content in (("empty.jpg", b""), ("text.png", b"no picture"), ("cut.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF")):
        (tmp_path / name).write_bytes(content)
    shutil.copy(images / "00000.jpg", tmp_path)
    shutil.copy(images / "00001.jpg", tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    found = pictures.find([tmp_path])
    assert {Path(file).name for file in found.unreadable} == {"empty.jpg", "text.png", "cut.jpg"}
    assert {Path(file).name for file in (*found.train, *found.held_out)} == {"00000.jpg", "00001.jpg"}
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "there is no .*nowhere; name a folder"),
        ("", ValueError, "there is no picture in"),
    ],
)
def test_no_pictures(source, error, message, tmp_path):
    with pytest.raises(error, match=message):
        pictures.find([tmp_path / source])


# ---- from beginning to end ----


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_an_alignment_draws_the_maps_and_gives_an_ordinary_checkpoint(model, teacher, images, drawn, tmp_path):
    longer, caches = {**FAST, **LONGER}, set(drawn.parent.rglob("*.cache"))
    found = align(f"{model}.yaml", str(teacher), drawn, tmp_path / "out.pt", tmp_path / "run", arguments=longer)
    with open(tmp_path / "run" / "training" / "results.csv", newline="") as file:
        epochs = list(csv.DictReader(file, skipinitialspace=True))
    # Of the pictures that were trained on: BatchNorm's running statistics lag behind in so short a run.
    distances = [sum(float(epoch[f"train/{row}"]) for row in found.before) for epoch in epochs]
    assert distances[-1] < 0.8 * distances[0]
    assert set(drawn.parent.rglob("*.cache")) == caches
    trained = YOLO(found.checkpoint)
    theirs = YOLO(teacher)
    for row in range(9, 23):
        for name, value in theirs.model.model[row].state_dict().items():
            torch.testing.assert_close(trained.model.model[row].state_dict()[name], value, rtol=1e-3, atol=1e-3)
    assert trained.model.names == theirs.model.names
    assert "loss" not in vars(trained.model)
    ended, small = YOLO(tmp_path / "run" / "training" / "weights" / "last.pt").model.eval(), trained.model.eval()
    image = torch.from_numpy(cv2.imread(str(images / "00000.jpg"))[None]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        for ours, theirs in zip(junction.maps(small, image, (4, 6, 8)), junction.maps(ended, image, (4, 6, 8))):
            assert ((ours - theirs).square().mean() < 1e-4 * theirs.var()).item()  # both are kept in half precision
    small.requires_grad_(True)
    sizes = [found.weight.std() * (3 * found.weight[0].numel()) ** 0.5 for found in normalised(small, (4, 6, 8))]
    assert len(sizes) >= 4 and all(0.2 < size < 0.26 for size in sizes)
    result = trained.train(data=drawn, **{**FAST, "epochs": 1}, project=tmp_path, name="after")
    assert result is not None
    code = f"from ultralytics import YOLO; YOLO({str(found.checkpoint)!r}).predict({str(images / '00000.jpg')!r})"
    run([sys.executable, "-c", code], tmp_path, {"ULTRALYTICS_SAFE_LOAD": "1"})


@pytest.mark.slow
def test_vanillanets_slope_is_1_after_alignment_and_its_checkpoint_merges(teacher, images, tmp_path):
    found = align(
        "yolov8n-vanillanet.yaml", str(teacher), images, tmp_path / "out.pt", tmp_path / "run", arguments=FAST
    )
    with open(tmp_path / "run" / "training" / "results.csv", newline="") as file:
        slopes = [float(row["slope"]) for row in csv.DictReader(file, skipinitialspace=True)]
    assert slopes[-1] == 1
    model = YOLO(found.checkpoint).model
    before = sum(parameter.numel() for parameter in model.parameters())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval()(image)[0]
        merged = model.fuse(verbose=False)
        torch.testing.assert_close(merged(image)[0], expected, rtol=1e-3, atol=1e-3)
    assert sum(parameter.numel() for parameter in merged.parameters()) < 0.95 * before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "teacher_name"),
    [
        ("yolov8n-starnet-seg", "yolov8n-seg"),
        ("yolov8n-fasternet-pose", "yolov8n-pose"),
        ("yolo11n-skconv-obb", "yolo11n-obb"),
        ("yolo26n-starnet", "yolo26n"),
    ],
)
def test_every_task(student, teacher_name, images, tmp_path):
    trained = teach(f"{teacher_name}.yaml", images, tmp_path)
    paths = (tmp_path / "out.pt", tmp_path / "run")
    # At P3, YOLO11 and YOLO26 have twice YOLOv8's channels, which are the families'.
    found = align(f"{student}.yaml", str(trained), images, *paths, adapters="8" not in student, arguments=FAST)
    model = YOLO(found.checkpoint)
    assert model.task == YOLO(trained).task
    assert model.model.args["task"] == model.task
    assert type(model.model.model[-1]) is type(YOLO(trained).model.model[-1])
    model.predict(str(images / "00000.jpg"), imgsz=64, verbose=False)


@pytest.mark.slow
def test_adapters_stay_in_a_published_network(teacher, drawn, tmp_path):
    given = ("yolov8n-resnet18.yaml", str(teacher), drawn, tmp_path / "out.pt", tmp_path / "run")
    found = align(*given, adapters=True, arguments={**FAST, **LONGER})
    model = YOLO(found.checkpoint).model
    with torch.no_grad():
        maps = junction.maps(model, torch.zeros(1, 3, 64, 64), (5, 8, 11))
    assert [x.shape[1] for x in maps] == [64, 128, 256]
    assert all(found.after[row] < found.before[row] for row in found.before)


@pytest.mark.slow
def test_map_is_measured_before_and_after(teacher, few_shapes, tmp_path, run_cli):
    """By the command, in the words that a user reads."""
    command = (
        "yolo-backbones", "align", "yolov8n-starnet.yaml", "imgsz=64", "batch=4", "workers=0", "--teacher", teacher,
        "--images", few_shapes, "--data", few_shapes, "--epochs", "1", "-o", tmp_path / "out.pt",
        "--run", tmp_path / "run",
    )  # fmt: skip
    done = run_cli([str(word) for word in command])
    assert "unexplained of the teacher's map" in done.stdout
    assert "mAP50-95(B)" in done.stdout
    assert f"yolo train model={tmp_path / 'out.pt'} data=mine.yaml" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolov8n-starnet", "yolov8n-vanillanet"])
def test_two_processes_learn_what_one_does(model, teacher, few_shapes, tmp_path):
    start, _ = detectors.student_of(detectors.load_teacher(str(teacher)), f"{model}.yaml", adapters=False)
    checkpoint.write(start, tmp_path / "start.pt")
    data = yaml.safe_load(few_shapes.read_text()) | {"teacher": str(teacher)}
    (tmp_path / "pictures.yaml").write_text(yaml.safe_dump(data))
    script = Path(__file__).with_name("two_processes.py")
    run([sys.executable, script, "start.pt", "pictures.yaml", tmp_path, "--align"], tmp_path, {"OMP_NUM_THREADS": "1"})
    one, first, second = (torch.load(tmp_path / f"of{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert first["slopes"] == second["slopes"] == one["slopes"]
    for found in (first, second):
        for name, value in one["model"].items():
            within = 1e-5 * value.abs().max().item()
            torch.testing.assert_close(found["model"][name], value, rtol=1e-5, atol=within, msg=name)


# ---- stopped, repeated, asked for otherwise ----


@pytest.mark.slow
def test_a_killed_alignment_goes_on(teacher, images, tmp_path):
    code = (
        f"from yolo_backbones.align import align; align('yolov8n-starnet.yaml', {str(teacher)!r}, {str(images)!r}, "
        f"{str(tmp_path / 'out.pt')!r}, {str(tmp_path / 'run')!r}, arguments={ {**FAST, 'epochs': 8}!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table = tmp_path / "run" / "training" / "results.csv"
    deadline = time.monotonic() + 600
    while not (table.exists() and len(table.read_text().splitlines()) > 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run([sys.executable, "-c", code], tmp_path)
    with open(table, newline="") as file:
        epochs = [int(float(row["epoch"])) for row in csv.DictReader(file, skipinitialspace=True)]
    assert sorted(set(epochs)) == list(range(1, 9))
    assert (tmp_path / "out.pt").exists()
    assert set(json.loads((tmp_path / "run" / "training" / "distances.json").read_text())) == {"before", "after"}


@pytest.mark.slow
def test_the_same_again_trains_nothing_and_another_is_refused(teacher, images, tmp_path):
    asked = ("yolov8n-starnet.yaml", str(teacher), images, tmp_path / "out.pt", tmp_path / "run")
    align(*asked, arguments={**FAST, "epochs": 1})
    table = (tmp_path / "run" / "training" / "results.csv").stat().st_mtime_ns
    plan = tmp_path / "run" / "alignment.json"
    for finished in (True, False):  # False: killed between its last epoch and that note
        plan.write_text(json.dumps({**json.loads(plan.read_text()), "finished": finished}))
        (tmp_path / "out.pt").unlink()
        align(*asked, arguments={**FAST, "epochs": 1})
        assert (tmp_path / "run" / "training" / "results.csv").stat().st_mtime_ns == table
        assert (tmp_path / "out.pt").exists()
    with pytest.raises(
        ValueError, match=r"holds an alignment with another epochs=1; choose another --run, or add --fresh"
    ):
        align(*asked, arguments={**FAST, "epochs": 2})
    with pytest.raises(ValueError, match=r"another student, yolov8n-starnet\.yaml"):
        align("yolov8n-fasternet.yaml", *asked[1:], arguments={**FAST, "epochs": 1})
    (tmp_path / "run" / "training" / "weights" / "last.pt").unlink()
    align(*asked, arguments={**FAST, "epochs": 1})  # trained anew
    for damaged in ('{"before": {', "", "[1]"):
        (tmp_path / "run" / "training" / "distances.json").write_text(damaged)
        with pytest.raises(
            ValueError, match=r"distances\.json cannot be read \(.*\); choose another --run, or add --fresh"
        ):
            align(*asked, arguments={**FAST, "epochs": 1})
    align(*asked, fresh=True, arguments={**FAST, "epochs": 1})
    assert (tmp_path / "run" / "training" / "results.csv").stat().st_mtime_ns > table
    plan.write_text("{")
    with pytest.raises(ValueError, match=r"cannot be read .*--fresh"):
        align(*asked, arguments={**FAST, "epochs": 1})
    align(*asked, arguments={**FAST, "epochs": 1}, fresh=True)
    assert len((tmp_path / "run" / "training" / "results.csv").read_text().splitlines()) == 2  # the heading, an epoch
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(ValueError, match="holds other files and no alignment"):
        align(*asked[:-1], tmp_path / "other", arguments=FAST)
    with pytest.raises(ValueError, match="holds other files and no alignment"):
        align(*asked[:-1], tmp_path / "other", arguments=FAST, fresh=True)
    assert (tmp_path / "other" / "mine.txt").exists()


@pytest.mark.slow
def test_one_that_failed_before_its_first_epoch_is_forgotten(teacher, images, tmp_path):
    asked = ("yolov8n-starnet.yaml", str(teacher), images, tmp_path / "out.pt", tmp_path / "run")
    with pytest.raises(ValueError, match="device=99"):
        align(*asked, arguments={**FAST, "device": "99"})
    with pytest.raises(ValueError, match="imgsz=wide"):
        align(*asked, arguments={**FAST, "imgsz": "wide"})
    align(*asked, arguments={**FAST, "epochs": 1})
    assert (tmp_path / "out.pt").exists()


def test_a_folder_is_one_alignments_at_a_time(tmp_path):
    with (
        lock.held(tmp_path / "run", "alignment", "--run"),
        pytest.raises(ValueError, match=r"another alignment is running in .*run; wait for it, or give another --run"),
    ):
        align("yolov8n-starnet.yaml", "t.pt", tmp_path, tmp_path / "out.pt", tmp_path / "run")


@pytest.mark.parametrize("name", ["pretrained", "freeze", "save_dir", "distill_model", "model", "resume"])
def test_what_an_alignment_sets_itself_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name}=x: an alignment sets {name} itself; leave it out"):
        align("yolov8n-starnet.yaml", "t.pt", tmp_path, tmp_path / "o.pt", tmp_path / "run", arguments={name: "x"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["plots", "rect", "compile"])
def test_what_an_alignment_has_not_is_refused_with_the_reason(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name}=True: \w.*; leave it out"):
        align("yolov8n-starnet.yaml", "t.pt", tmp_path, tmp_path / "o.pt", tmp_path / "run", arguments={name: True})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=x.yaml"], "this command sets data itself"),
        (["pretrained=False"], "this command sets pretrained itself"),
        (["distill_model=yolov8s.pt"], "this command sets distill_model itself"),
        (["imgzs=64"], "imgzs=64: .*not a valid YOLO argument"),
        (["lr0=fast"], "lr0=fast: "),
        (["imgsz"], "no argument of `yolo train`; write it as key=value"),
        (["batch=-1"], "batch=-1 is no number of pictures"),
        (["-o", "out.onnx"], "has to end with .pt"),
    ],
)
def test_wrong_arguments_are_said_in_a_line(arguments, message, tmp_path, monkeypatch, capsys):
    from yolo_backbones.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["align", "yolov8n-starnet.yaml", "--teacher", "t.pt", "--images", ".", *arguments])
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert len(said.splitlines()) == 1
    import re

    assert re.search(message, said), said
