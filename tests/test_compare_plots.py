"""A comparison's report by task, and its plots."""

import json

import matplotlib.image
import pytest
from compared import BOX, MASK, PLOTS, SCORES, STAR, STOCK, TOP1, pictures, plan_of, run, text_of, whole, words_of

from yolo_backbones.compare import report
from yolo_backbones.compare.record import LATENCY
from yolo_backbones.compare.report import fonts, metrics, plots
from yolo_backbones.compare.report.read import read
from yolo_backbones.compare.report.statistics import summarise

# tasks


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("detect", [BOX]),
        ("obb", [BOX]),
        ("segment", [MASK, BOX]),
        ("pose", ["metrics/mAP50-95(P)", BOX]),
        ("classify", [TOP1]),
    ],
)
def test_metrics_are_those_of_the_task(task, keys):
    assert metrics.shown(task) == keys


def test_a_task_that_is_not_known_shows_what_it_recorded():
    assert metrics.shown("novel", ["metrics/x", "metrics/y"]) == ["metrics/x"]


def test_classification(tmp_path):
    plan_of(tmp_path, task="classify")
    for model, scores in SCORES.items():
        for seed, score in enumerate(scores):
            run(tmp_path, model, seed, score, key=TOP1, names=())
    text = text_of(tmp_path)
    assert "The task classify has no AP by class here" in text and pictures(tmp_path) == ["cost", "curves"]
    assert "| top1 |" in text


def test_segmentation_is_judged_by_masks(tmp_path):
    plan_of(tmp_path, task="segment")
    for model, scores in SCORES.items():
        for seed, score in enumerate(scores):
            run(tmp_path, model, seed, score, key=MASK, metrics={BOX: 1 - score, MASK: score})
    text = text_of(tmp_path)
    assert "mAP50-95(M) differs from the reference's by +0.0300" in text and "| mAP50-95(M) | mAP50-95(B) |" in text


# plots


def test_plots_of_eighty_classes_are_readable(tmp_path):
    names = [f"class number {i}" for i in range(80)]
    whole(tmp_path, names=names)
    report.write(tmp_path)
    assert pictures(tmp_path) == PLOTS and all((tmp_path / f"{name}.pdf").stat().st_size for name in PLOTS)
    height = matplotlib.image.imread(tmp_path / "classes.png").shape[0]
    assert height / 80 > 16  # pixels a class; its name is 12 high


def test_unicode_class_names(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_letters", lambda: frozenset(range(0x250)))
    names = ["Fußgänger", "行人", "$x_y$"]
    whole(tmp_path, names=names)
    assert "given by its number" in text_of(tmp_path)  # warnings of letters that no font has are errors there
    assert json.loads((tmp_path / "compare.json").read_text())["models"][0]["classes"]["行人"] == pytest.approx(0.31)
    assert [fonts.plain(name, i) for i, name in enumerate(names)] == ["Fußgänger", "class 1", r"\$x_y\$"]


def test_a_class_without_images_does_not_shift_the_numbers_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_letters", lambda: frozenset(range(0x250)))
    plan_of(tmp_path, names=["cat", "狗", "行人"])
    run(tmp_path, STOCK, 0, 0.3, names=("cat", "行人"))
    comparison = read(tmp_path)
    axes = plots._classes(comparison, summarise(comparison)[:1]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "class 2"]


def test_cost_is_latency_where_every_model_was_timed(tmp_path):
    whole(tmp_path)
    rows = [{"model": model, "median_ms": ms, "hardware": "a CPU"} for model, ms in ((STOCK, 20.0), (STAR, 15.0))]
    axis_of = lambda: plots._cost(read(tmp_path), summarise(read(tmp_path))).axes[0].get_xlabel()  # noqa: E731
    assert axis_of() == "parameters (M)"
    (tmp_path / LATENCY).write_text(json.dumps(rows))
    assert axis_of() == "latency (ms)"
    assert "on a CPU" in text_of(tmp_path) and "| 15.0 |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    (tmp_path / LATENCY).write_text(json.dumps([*rows[:1], {"model": STAR, "median_ms": None, "error": "failed"}]))
    assert axis_of() == "parameters (M)" and "Without a latency: yolov8n-starnet." in words_of(tmp_path)


def test_names_of_points_keep_clear_of_the_front(tmp_path):
    scores = {f"model {i}": [0.3 + 0.03 * i] * 2 for i in range(6)}
    whole(tmp_path, scores, seeds=2)
    for i, (model, values) in enumerate(scores.items()):
        for seed, score in enumerate(values):
            run(tmp_path, model, seed, score, parameters_fused=2_000_000 + 50_000 * i)
    comparison = read(tmp_path)
    axes = plots._cost(comparison, summarise(comparison)).axes[0]
    points = [plots.Point("", 2.0 + 0.05 * i, 0.3 + 0.03 * i, 0, 0) for i in range(6)]
    boxes = [super(type(text), text).get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not [box for box in boxes for edge in plots._edges(axes, points) if box.overlaps(edge)]


def test_a_front_of_one_point_is_seen(tmp_path):
    whole(tmp_path, {STOCK: [0.3, 0.3], "other": [0.2, 0.2]}, seeds=2)
    for seed in (0, 1):
        run(tmp_path, "other", seed, 0.2, parameters_fused=9_000_000)
    comparison = read(tmp_path)
    (front,) = (
        line
        for line in plots._cost(comparison, summarise(comparison)).axes[0].lines
        if line.get_label() == "Pareto front"
    )
    assert len(front.get_xdata()) == 1 and front.get_marker() == "o"


def test_the_reference_is_black_in_the_curves(tmp_path):
    whole(tmp_path, {STOCK: [0.3, 0.2, 0.4], "_hidden": [0.5, 0.5, 0.5]})
    comparison = read(tmp_path)
    figure = plots._curves(comparison, summarise(comparison))
    drawn = dict(zip((t.get_text() for t in figure.legends[0].get_texts()), figure.legends[0].legend_handles))
    assert drawn[STOCK].get_color() == "black" and drawn[" _hidden"].get_color() != "black"
    bands = [
        band.get_paths()[0].vertices[:, 1]
        for band in figure.axes[0].collections
        if not band.get_facecolor()[0][:3].any()
    ]
    assert [(band.min(), band.max()) for band in bands] == [pytest.approx((0.2 / 3, 0.4), abs=1e-5)]
