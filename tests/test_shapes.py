"""The drawn data sets: same seed, same files; labels that fit what can be seen; no half-drawn folders."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolo_backbones import shapes
from yolo_backbones.shapes import painting
from yolo_backbones.shapes import scene as geometry

ROOT = Path(__file__).parents[1]
YAMLS = {name: ROOT / "cfg" / "datasets" / f"{name}.yaml" for name in ("shapes", "shapes-seg", "shapes-obb")}
TASKS = dict(zip(YAMLS, ("detect", "segment", "obb"), strict=True))
SMALL = {"train": 5, "val": 2, "imgsz": 96}
SIZE = 160
SCENES = 40


def files(root: Path) -> dict[str, bytes]:
    """Everything below a folder, by relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def scenes() -> list[shapes.Scene]:
    return [shapes.arrange(np.random.default_rng(i), SIZE) for i in range(SCENES)]


@pytest.fixture(scope="module")
def slender() -> list[shapes.Scene]:
    return [shapes.arrange(np.random.default_rng(i), SIZE, slender=True) for i in range(SCENES)]


def sides(boxes: np.ndarray) -> np.ndarray:
    """From each corner to the next: (N, 4, 2)."""
    return np.roll(boxes, -1, axis=1) - boxes


def extent(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def written(root: Path, split: str, i: int) -> list[tuple[int, np.ndarray]]:
    """The labels of a picture: class and numbers."""
    rows = [line.split() for line in (root / "labels" / split / f"{i:05}.txt").read_text().splitlines()]
    return [(int(cls), np.array(values, float)) for cls, *values in rows]


@pytest.mark.parametrize("task", shapes.TASKS)
def test_same_seed_same_files_in_another_process(tmp_path: Path, task: str) -> None:
    arguments = {**SMALL, "task": task}
    shapes.draw(tmp_path / "here", **arguments)
    code = f"from yolo_backbones import shapes; shapes.draw({str(tmp_path / 'there')!r}, **{arguments})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
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


def test_the_detection_set_stays_the_same(tmp_path: Path) -> None:
    """Figures reached on it are compared; only the labels, since another OpenCV may write another JPEG."""
    shapes.draw(tmp_path / "set", train=20, val=5)
    digest = hashlib.sha256()
    for path in sorted((tmp_path / "set" / "labels").rglob("*.txt")):
        digest.update(path.read_bytes())
    assert digest.hexdigest() == "17c9310f8baccd3a3d4ee7e924f8e127eebc7cf58de12bdd4dfc00f5f3ba2aff"
    assert (tmp_path / "set" / "README.txt").read_text().endswith("draw(train=20, val=5, imgsz=320, seed=0)\n")


def test_polygons_and_boxes_are_of_the_same_pictures(tmp_path: Path) -> None:
    shapes.draw(tmp_path / "boxes", **SMALL)
    shapes.draw(tmp_path / "polygons", **SMALL, task="segment")
    shapes.draw(tmp_path / "oriented", **SMALL, task="obb")
    sets = [files(tmp_path / name) for name in ("boxes", "polygons", "oriented")]
    for name in sets[0]:
        assert (sets[0][name] == sets[1][name]) == name.endswith(".jpg"), name
        assert sets[0][name] != sets[2][name]


def test_labels_of_the_other_tasks_are_those_of_the_scene(tmp_path: Path) -> None:
    for task in ("segment", "obb"):
        shapes.draw(tmp_path / task, **SMALL, task=task)
        for i in range(SMALL["train"]):
            scene = shapes.arrange(np.random.default_rng([0, 0, i]), SMALL["imgsz"], slender=task == "obb")
            outlines = scene.oriented_boxes() if task == "obb" else scene.polygons()
            rows = written(tmp_path / task, "train", i)
            assert [cls for cls, _ in rows] == [shape.cls for shape in scene.shapes]
            for (_, values), outline in zip(rows, outlines, strict=True):
                assert np.allclose(values.reshape(-1, 2) * SMALL["imgsz"], outline, atol=1e-3)


def test_oriented_boxes_hold_what_is_seen_and_no_more(slender: list[shapes.Scene]) -> None:
    """Every pixel lies in the box, every side touches one, and no box at another angle is smaller."""
    turns = np.deg2rad(np.arange(0, 90, 0.5))
    axes = np.stack((np.cos(turns), np.sin(turns)), 1), np.stack((-np.sin(turns), np.cos(turns)), 1)
    for scene in slender:
        for i, box in enumerate(scene.oriented_boxes()):
            ys, xs = np.nonzero(scene.owner == i)
            pixels = np.concatenate([np.stack((xs + dx, ys + dy), 1) for dx in (0, 1) for dy in (0, 1)])
            side = sides(box[None])[0]
            length = np.linalg.norm(side, axis=1)
            assert np.allclose(side[0], -side[2], atol=1e-3) and abs(side[0] @ side[1]) < 0.01 * length[0] * length[1]
            for corner, direction in zip(box, side / length[:, None], strict=True):
                x, y = (pixels - corner).T
                depth = direction[0] * y - direction[1] * x  # to the right of the side, as one sees it: clockwise
                assert abs(depth.min()) < 0.01
            smallest = np.prod([np.ptp(pixels @ axis.T, axis=0) for axis in axes], axis=0).min()
            assert length[0] * length[1] <= smallest * 1.001
            middle = box[:, 1].mean()
            assert box[0, 1] < middle < box[3, 1]  # the first one up from the left


def test_angles_matter_in_the_oriented_set(slender: list[shapes.Scene]) -> None:
    boxes = np.concatenate([scene.oriented_boxes() for scene in slender])
    side = sides(boxes)
    length = np.linalg.norm(side, axis=2)
    assert np.median(length.max(1) / length.min(1)) > 2
    long = side[np.arange(len(side)), length.argmax(1)]
    turn = np.degrees(np.arctan2(long[:, 1], long[:, 0])) % 180
    assert np.histogram(turn, 6, (0, 180))[0].min() > len(turn) / 12  # each sixth has at least half of its share
    upright = np.ptp(boxes, axis=1).prod(1)
    assert np.median(upright / (length[:, 0] * length[:, 1])) > 1.7  # an upright box would be mostly ground
    classes = np.array([shape.cls for scene in slender for shape in scene.shapes])
    for cls in range(len(shapes.CLASSES)):
        assert np.median((length.max(1) / length.min(1))[classes == cls]) > 1.7


def test_slender_shapes_keep_their_area_and_stay_in_the_picture(slender: list[shapes.Scene]) -> None:
    for shape in (shape for scene in slender for shape in scene.shapes):
        assert shape.contours[0].min() > -1e-3 and shape.contours[0].max() < SIZE + 1e-3
    rng = np.random.default_rng(0)
    for name in shapes.CLASSES:
        polars = geometry._polar(name, rng)
        one = shapes.Shape(0, tuple(100 * geometry._contour(*polar, np.zeros(2)) for polar in polars))
        other = shapes.Shape(
            0, tuple(100 * geometry._contour(*polar, np.zeros(2)) for polar in geometry._slender(polars, 0.4))
        )
        assert other.area == pytest.approx(one.area, rel=1e-3)
        (w, h), (w2, h2) = np.ptp(one.contours[0], axis=0), np.ptp(other.contours[0], axis=0)
        assert max(w2, h2) / min(w2, h2) == pytest.approx(max(w, h) / min(w, h) / 0.4, rel=1e-3)


def test_polygons_cover_what_is_seen(scenes: list[shapes.Scene]) -> None:
    """As Ultralytics draws its masks. A line of a pixel joins the parts of one shape, so a few are less exact."""
    agreement, holes = [], 0
    for scene in scenes:
        for i, polygon in enumerate(scene.polygons()):
            seen = scene.owner == i
            mask = cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [polygon.astype(np.int32)], 1) > 0
            agreement.append((mask & seen).sum() / (mask | seen).sum())
            whole = cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [cv2.convexHull(polygon.astype(np.int32))], 1)
            holes += scene.shapes[i].cls == shapes.CLASSES.index("ring") and whole.sum() > 1.2 * mask.sum()
    assert min(agreement) > 0.8 and np.mean(np.array(agreement) > 0.99) > 0.9
    assert holes > SCENES / 4


def test_boxes_hold_what_is_seen_of_each_shape(scenes: list[shapes.Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the labels' own arithmetic: repaint one shape, and see which pixels of the picture change."""
    monkeypatch.setattr(cv2, "GaussianBlur", lambda canvas, *_: canvas)
    monkeypatch.setattr(painting, "_ramp", lambda rng, h, w: np.zeros((h, w), np.float32))

    def painted(scene: shapes.Scene, bright: int | None) -> np.ndarray:
        fills = iter(range(len(scene.shapes)))
        monkeypatch.setattr(
            painting, "_fill", lambda *_: np.full(3, 220 if next(fills) == bright else 40, dtype=np.float32)
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
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 9
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


def test_a_task_without_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task='pose'; choose one of detect, segment, obb"):
        shapes.draw(tmp_path / "set", **SMALL, task="pose")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", YAMLS)
def test_the_yaml_says_what_draw_does(name: str) -> None:
    text = YAMLS[name].read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert tuple(config["names"].values()) == shapes.CLASSES
    assert config["path"] == name and f"data={name}.yaml" in text and f"└── {name} " in text
    train, val, imgsz, _, _ = shapes.draw.__defaults__
    assert text.startswith("# Shapes") and f": {train + val} drawn pictures" in text.splitlines()[0]
    assert f"train: {train}, val: {val}" in text and f"{imgsz} x {imgsz} px" in text


@pytest.mark.parametrize("name", YAMLS)
def test_ultralytics_draws_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from ultralytics.data import YOLODataset, utils

    monkeypatch.setattr(utils, "DATASETS_DIR", tmp_path / "datasets")
    monkeypatch.setattr(utils, "check_font", lambda name: None)  # it would download one
    monkeypatch.setattr(shapes.draw, "__defaults__", (*SMALL.values(), 0, "detect"))
    monkeypatch.chdir(tmp_path)
    data = utils.check_det_dataset(YAMLS[name])
    assert Path(data["path"]) == (tmp_path / "datasets" / name).resolve()
    assert data["nc"] == len(shapes.CLASSES)
    for split in ("train", "val"):
        assert len(list(Path(data[split]).iterdir())) == SMALL[split]
        taken = YOLODataset(data[split], data=data, task=TASKS[name], imgsz=SMALL["imgsz"], augment=False)
        assert len(taken) == SMALL[split]  # it leaves out a picture whose labels it takes for wrong
        for i, labels in enumerate(taken.labels):
            rows = written(Path(data["path"]), split, i)
            assert labels["cls"].ravel().tolist() == [cls for cls, _ in rows]
            if name != "shapes":
                assert all(np.allclose(s.ravel(), v) for s, (_, v) in zip(labels["segments"], rows, strict=True))
    monkeypatch.setattr(shapes, "draw", None)
    assert utils.check_det_dataset(YAMLS[name])["val"] == data["val"]
