"""Ultralytics' `distill_model=` with our models as students and as teachers."""

import csv
import inspect
import shutil

import pytest
from conftest import shared
from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT

from yolo_backbones import configs, shapes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("distill_model" not in DEFAULT_CFG_DICT, reason="this Ultralytics has no distill_model"),
]
FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})
FAST = {"epochs": 2, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a data set's YAML for a task."""
    folder = tmp_path_factory.mktemp("sets")

    def of(task: str) -> str:
        file = folder / f"{task}.yaml"
        if task == "pose":
            keypoints = shared()
            if keypoints is None:
                pytest.skip("poses are not drawn here; YOLO_BACKBONES_SHARED names a folder with coco8-pose")
            shutil.copytree(keypoints / "data" / "coco8-pose", folder / "pose", dirs_exist_ok=True)
            return str(folder / "pose" / "data.yaml")
        shapes.draw(folder / task, train=8, val=4, imgsz=64, task=task)
        names = list(shapes.CLASSES)
        file.write_text(f"path: {folder / task}\ntrain: images/train\nval: images/val\nnames: {names}\n")
        return str(file)

    return of


def untrained(model: str, folder) -> str:
    file = folder / f"{model}.pt"
    YOLO(f"{model}.yaml").save(file)
    return str(file)


def rows(run) -> list[dict[str, str]]:
    with open(run / "results.csv", newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


@pytest.mark.parametrize("suffix", ["", "-seg", "-pose", "-obb"])
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("yolov8n-starnet", "yolov8n"),
        ("yolov8n-resnet18", "yolov8s-vanillanet"),
        ("yolo11n-lsknet", "yolo11n-resnet18"),
    ],
)
def test_every_task_with_ours_on_either_side(student, teacher, suffix, data, tmp_path):
    model = YOLO(f"{student}{suffix}.yaml")
    taught_by = untrained(f"{teacher}{suffix}", tmp_path)
    model.train(data=data(model.task), distill_model=taught_by, project=tmp_path, name="run", **FAST)
    assert any("dis_loss" in name for name in rows(tmp_path / "run")[0])
    found = YOLO(tmp_path / "run" / "weights" / "best.pt")
    assert type(found.model) is type(model.model)  # the student alone
    assert found.model.yaml["backbone"] == model.model.yaml["backbone"]


@pytest.mark.parametrize("student", FAMILIES)
def test_every_family_learns_from_stock_and_resumes(student, data, tmp_path):
    taught_by = untrained("yolov8n", tmp_path)
    model = YOLO(f"{student}.yaml")

    def stop(trainer) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", stop)
    longer = {**FAST, "epochs": 3}
    with pytest.raises(KeyboardInterrupt):
        model.train(data=data("detect"), distill_model=taught_by, project=tmp_path, name="run", **longer)
    YOLO(tmp_path / "run" / "weights" / "last.pt").train(resume=True)
    found = rows(tmp_path / "run")
    assert [int(row["epoch"]) for row in found] == [1, 2, 3]
    slopes = [float(row["slope"]) for row in found if row.get("slope")]
    assert slopes == ([0, 1, 1] if "vanillanet" in student else [])


def test_a_teachers_slope_is_left_alone(data, tmp_path):
    teacher = YOLO("yolov8n-vanillanet.yaml")
    for module in teacher.model.modules():
        if hasattr(module, "slope") and "slope" in dict(inspect.getmembers(type(module))):
            module.slope = 0.5
    teacher.save(tmp_path / "teacher.pt")
    student = YOLO("yolov8n-fasternet.yaml")
    seen = set()

    def look(trainer) -> None:
        seen.update(module.slope for module in trainer.model.teacher_model.modules() if hasattr(module, "slope"))

    student.add_callback("on_train_batch_end", look)
    student.train(data=data("detect"), distill_model=str(tmp_path / "teacher.pt"), project=tmp_path, name="run", **FAST)
    assert seen == {0.5}
    assert "slope" not in rows(tmp_path / "run")[0]
