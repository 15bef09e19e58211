"""The drawn detection set: same seed, same files; labels that fit what can be seen; no half-drawn folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolo_backbones import shapes

YAML = Path(__file__).parents[1] / "cfg" / "datasets" / "shapes.yaml"
SMALL = {"train": 5, "val": 2, "imgsz": 96}
SIZE = 160
SCENES = 40


def files(root: Path) -> dict[str, bytes]:
    """Everything below a folder, by relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def scenes() -> list[shapes.Scene]:
    return [shapes.arrange(np.random.default_rng(i), SIZE) for i in range(SCENES)]


def extent(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def test_same_seed_same_files_in_another_process(tmp_path: Path) -> None:
    shapes.draw(tmp_path / "here", **SMALL)
    code = f"from yolo_backbones import shapes; shapes.draw({str(tmp_path / 'there')!r}, **{SMALL})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=YAML.parents[2])
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_other_seed_other_pictures(tmp_path: Path) -> None:
    shapes.draw(tmp_path / "a", **SMALL)
    shapes.draw(tmp_path / "b", **SMALL, seed=1)
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a.keys() == b.keys()
    assert len(set(a.values()) | set(b.values())) == len(a) + len(b)  # nor is one drawn twice, as train and val say


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    shapes.draw(tmp_path / "a", **SMALL)
    shapes.draw(tmp_path / "b", **(SMALL | {"train": 6}))
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert {name for name in b if a.get(name) != b[name]} == {
        "README.txt",
        "images/train/00005.jpg",
        "labels/train/00005.txt",
    }


def test_labels_are_the_boxes_of_the_scene(tmp_path: Path) -> None:
    shapes.draw(tmp_path / "set", **SMALL)
    for split, name in enumerate(("train", "val")):
        assert len(list((tmp_path / "set" / "images" / name).iterdir())) == SMALL[name]
        for i in range(SMALL[name]):
            image = cv2.imread(str(tmp_path / "set" / "images" / name / f"{i:05}.jpg"))
            assert image.shape == (SMALL["imgsz"], SMALL["imgsz"], 3)
            scene = shapes.arrange(np.random.default_rng([0, split, i]), SMALL["imgsz"])
            rows = np.loadtxt(tmp_path / "set" / "labels" / name / f"{i:05}.txt", ndmin=2)
            assert [shape.cls for shape in scene.shapes] == rows[:, 0].tolist()
            centre, size = rows[:, 1:3] * SMALL["imgsz"], rows[:, 3:5] * SMALL["imgsz"]
            assert np.allclose(np.hstack((centre - size / 2, centre + size / 2)), scene.boxes(), atol=1e-3)


def test_boxes_hold_what_is_seen_of_each_shape(scenes: list[shapes.Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the labels' own arithmetic: repaint one shape, and see which pixels of the picture change."""
    monkeypatch.setattr(cv2, "GaussianBlur", lambda canvas, *_: canvas)
    monkeypatch.setattr(shapes, "_ramp", lambda rng, h, w: np.zeros((h, w), np.float32))

    def painted(scene: shapes.Scene, bright: int | None) -> np.ndarray:
        fills = iter(range(len(scene.shapes)))
        monkeypatch.setattr(
            shapes, "_fill", lambda *_: np.full(3, 220 if next(fills) == bright else 40, dtype=np.float32)
        )
        return shapes.paint(scene, np.random.default_rng(0)).astype(int)

    hidden = 0
    for scene in scenes:
        dark = painted(scene, None)
        for i, (shape, box) in enumerate(zip(scene.shapes, scene.boxes(), strict=True)):
            changed = np.abs(painted(scene, i) - dark).max(2) > 60  # a third of a pixel
            assert np.abs(extent(changed) - box).max() <= 1
            assert changed.sum() >= (shapes.MIN_VISIBLE - 0.1) * shape.area
            hidden += np.abs(extent(shape.coverage(SIZE) > 127) - box).max() > 2
    assert hidden > SCENES / 10  # boxes cut short by what lies in front: the case that matters is there


def test_every_class_and_size_occurs(scenes: list[shapes.Scene]) -> None:
    seen = [shape.cls for scene in scenes for shape in scene.shapes]
    assert min(np.bincount(seen, minlength=len(shapes.CLASSES))) > len(seen) / len(shapes.CLASSES) / 2
    boxes = np.concatenate([scene.boxes() for scene in scenes]) / SIZE
    assert boxes.min() >= 0 and boxes.max() <= 1
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    for low, high in ((0, 0.15), (0.15, 0.3), (0.3, 1)):  # small, medium, large
        assert ((low < side) & (side < high)).mean() > 0.1
    assert all(shapes.COUNT[0] - 1 <= len(scene.shapes) <= shapes.COUNT[1] for scene in scenes)


def test_area_leaves_the_hole_out() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    shape = shapes.Shape(0, (square * 4 + 20, square * 2 + 30))
    assert shape.area == 40 * 40 - 20 * 20
    coverage = shape.coverage(100)
    assert coverage[25, 40] == 255 and coverage[40, 40] == 0 and coverage[40, 70] == 0


def test_stopped_half_way_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = shapes._write

    def stop(image: Path, *args: object) -> None:
        if image.parent.name == "val":
            raise KeyboardInterrupt
        write(image, *args)

    monkeypatch.setattr(shapes, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        shapes.draw(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    shapes.draw(tmp_path / "set", **SMALL)
    assert len(files(tmp_path / "set")) == 15


def test_killed_half_way_it_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    code = (
        "import os; from yolo_backbones import shapes; write = shapes._write\n"
        "shapes._write = lambda image, *rest: os._exit(9) if image.parent.name == 'val' else write(image, *rest)\n"
        f"shapes.draw({str(tmp_path / 'set')!r}, **{SMALL})"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=YAML.parents[2]).returncode == 9
    assert not (tmp_path / "set").exists()
    shapes.draw(tmp_path / "set", **SMALL)
    assert len(list((tmp_path / "set" / "images" / "val").iterdir())) == SMALL["val"]


def test_a_second_call_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes.draw(tmp_path, **SMALL)  # an empty folder that exists is fine
    monkeypatch.setattr(shapes, "_write", None)
    shapes.draw(tmp_path, **SMALL)


def test_another_process_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that start at once: the later one finds the same set in its place, and is content."""
    replace = shapes.os.replace

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(shapes.os, "replace", replace)
        shapes.draw(target, **SMALL)
        replace(source, target)

    monkeypatch.setattr(shapes.os, "replace", late)
    shapes.draw(tmp_path / "set", **SMALL)
    assert len(files(tmp_path / "set")) == 15
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_there_already_is_not_touched(tmp_path: Path, seed: int) -> None:
    if seed:
        shapes.draw(tmp_path / "set", **SMALL)
    else:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "mine.txt").write_text("mine")
    before = files(tmp_path / "set")
    with pytest.raises(FileExistsError, match="delete it or draw into another folder"):
        shapes.draw(tmp_path / "set", **SMALL, seed=seed)
    assert files(tmp_path / "set") == before


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": 0}, {"imgsz": 32}, {"seed": -1}])
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="got train="):
        shapes.draw(tmp_path / "set", **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_yaml_says_what_draw_does(tmp_path: Path) -> None:
    text = YAML.read_text(encoding="utf-8")
    assert tuple(yaml.safe_load(text)["names"].values()) == shapes.CLASSES
    train, val, imgsz, _ = shapes.draw.__defaults__
    assert f"# Shapes: {train + val} drawn pictures" in text
    assert f"train: {train}, val: {val}" in text and f"{imgsz} x {imgsz} px" in text


def test_ultralytics_draws_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.data import utils

    monkeypatch.setattr(utils, "DATASETS_DIR", tmp_path / "datasets")
    monkeypatch.setattr(utils, "check_font", lambda name: None)  # it would download one
    monkeypatch.setattr(shapes.draw, "__defaults__", (*SMALL.values(), 0))
    monkeypatch.chdir(tmp_path)
    data = utils.check_det_dataset(YAML)
    assert Path(data["path"]) == (tmp_path / "datasets" / "shapes").resolve()
    assert data["nc"] == len(shapes.CLASSES)
    for split in ("train", "val"):
        assert len(list(Path(data[split]).iterdir())) == SMALL[split]
    monkeypatch.setattr(shapes, "draw", None)
    assert utils.check_det_dataset(YAML)["val"] == data["val"]
