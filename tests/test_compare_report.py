"""A comparison's report, from folders with figures that are known: statistics, words, tables."""

import csv
import io
import json
import math
import statistics
import subprocess
import sys

import pytest
from compared import BOX, PLOTS, SCORES, STAR, STOCK, pictures, plan_of, row_of, run, text_of, whole, words_of
from rich.console import Console
from scipy import stats

from yolo_backbones.compare import report
from yolo_backbones.compare.record import FAILED, LATENCY, PLAN, RUNNING, Record, curves
from yolo_backbones.compare.report import tables
from yolo_backbones.compare.report.read import read
from yolo_backbones.compare.report.statistics import paired, summarise

# statistics


def test_means_deviations_and_intervals_are_those_of_scipy(tmp_path):
    whole(tmp_path)
    report.write(tmp_path)
    row, difference = row_of(tmp_path, STAR), row_of(tmp_path, STAR)["differences"][BOX]
    paired_test = stats.ttest_rel(SCORES[STAR], SCORES[STOCK])
    interval = paired_test.confidence_interval(0.95)
    assert row["means"][BOX] == pytest.approx(0.34) and row["deviations"][BOX] == pytest.approx(0.01)
    assert [difference["low"], difference["high"]] == pytest.approx([interval.low, interval.high])
    assert difference["mean"] == pytest.approx(0.03) and difference["seeds"] == 3
    assert row["seconds"] == 120 and row["memory"] == 102  # the mean, the highest
    assert row["parameters"] == 3_100_000 + len(STAR)  # merged
    assert row_of(tmp_path, STOCK)["differences"] == {}


def test_an_interval_by_hand():
    found = paired({0: 0.2, 1: 0.4}, {0: 0.1, 1: 0.1})
    # Two differences, 0.1 and 0.3: t of one degree of freedom is 12.706, the standard error 0.1.
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.5, 0.51, 0.52], "higher"), ([0.1, 0.11, 0.12], "lower"), ([0.3, 0.33, 0.3], "open"), ([0.9], "unknown")],
)
def test_the_verdict_follows_from_the_interval(values, verdict):
    assert paired(dict(enumerate(values)), {0: 0.3, 1: 0.315, 2: 0.31}).verdict == verdict


def test_only_seeds_that_both_have_finished_are_paired(tmp_path):
    whole(tmp_path)
    Record(STOCK, 1, RUNNING, epochs=1).write(tmp_path)
    Record(STAR, 2, FAILED, error="CUDA out of\nmemory").write(tmp_path)
    text = text_of(tmp_path)
    difference = row_of(tmp_path, STAR)["differences"][BOX]
    assert difference["seeds"] == 1 and difference["mean"] == pytest.approx(0.03) and difference["low"] is None
    assert row_of(tmp_path, STAR)["seeds"] == [0, 1]
    assert "not counted, 1 of 6: yolov8n-seed1." in text
    assert "yolov8n-starnet-seed2 failed and is not counted: CUDA out of memory" in text
    assert "2 of 3" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_equal_models_have_an_interval_of_width_0(tmp_path):
    whole(tmp_path, {STOCK: [0.3, 0.3, 0.3], STAR: [0.3, 0.3, 0.3]})
    text = text_of(tmp_path)  # no warning, of division by 0 for example
    assert row_of(tmp_path, STAR)["differences"][BOX] == {"mean": 0, "low": 0, "high": 0, "seeds": 3}
    assert "its interval has width 0: yolov8n-starnet." in text and "no difference shown" in text
    assert "nan" not in text.lower()


def test_width_0_is_seen_through_rounding():
    assert paired({0: 0.3, 1: 0.4, 2: 0.7}, {0: 0.2, 1: 0.3, 2: 0.6}).flat
    assert not paired({0: 0.3, 1: 0.4}, {0: 0.2, 1: 0.301}).flat


def test_a_metric_that_is_no_number_is_left_out_and_named(tmp_path):
    whole(tmp_path)
    run(tmp_path, STAR, 1, 0.34, metrics={BOX: math.nan})
    text = text_of(tmp_path)
    assert row_of(tmp_path, STAR)["means"][BOX] == pytest.approx(statistics.fmean([0.33, 0.35]))
    assert "so not in its mean: yolov8n-starnet-seed1." in text
    json.loads((tmp_path / "compare.json").read_text(), parse_constant=pytest.fail)


# words


def test_one_seed_has_no_interval(tmp_path):
    whole(tmp_path, seeds=1)
    text = text_of(tmp_path)
    assert "One seed, so no interval: yolov8n-starnet." in text and "2 models, 1 seed each" in text
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "none (1 seed)" in table and "±" not in table


def test_a_folder_with_only_a_plan(tmp_path):
    plan_of(tmp_path)
    text = text_of(tmp_path)
    assert "0 of 6 runs are finished" in text and "there is nothing to draw" in text and not pictures(tmp_path)
    assert (tmp_path / "curves.csv").read_text().strip() == "model,seed,epoch"
    assert len(list(csv.DictReader((tmp_path / "compare.csv").open()))) == 6
    assert "yolov8n-starnet & 0 of 3" in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_the_reference_failed(tmp_path):
    whole(tmp_path)
    for seed in range(3):
        Record(STOCK, seed, FAILED, error="disk full").write(tmp_path)
    text = text_of(tmp_path)
    assert "The reference, yolov8n, has no finished run" in text
    assert "yolov8n-starnet: no seed that it and the reference have both finished" in text
    assert row_of(tmp_path, STAR)["differences"] == {} and pictures(tmp_path) == PLOTS


def test_conditions_and_limits_are_said(tmp_path):
    data = {"path": "d.yaml", "hash": "f00", "names": ["a", "b", "c"], "train": 9, "val": 2}
    whole(tmp_path, {STOCK: [0.30, 0.32], STAR: [0.33, 0.34], "third": [0.31, 0.31]}, seeds=2, data=data, epochs=5)
    plan = json.loads((tmp_path / PLAN).read_text())
    plan["models"][2] |= {"config": None, "source": "third.pt"}
    plan["arguments"] |= {"optimizer": "SGD", "batch": 4, "mosaic": 0.5}
    (tmp_path / PLAN).write_text(json.dumps(plan))
    run(tmp_path, STAR, 1, 0.34, resumed=[2], device="GPU")
    text = words_of(tmp_path)
    for part in (
        "d.yaml (hash f00), 9 training images, 2 validation images, 3 classes",
        "5 epochs, images of 320 px, batch 4, optimizer SGD.",
        "Further arguments: mosaic=0.5.",
        "from the checkpoint third.pt: third",
        "The models do not start alike",
        "fewer validation images (2) than classes (3)",
        "Resumed after an interruption: yolov8n-starnet-seed1.",
        "Trained on different devices (CPU, GPU)",
        "Ended before epoch 5",
        "2 comparisons with the reference stand here",
        "The interval contains 0",
        "2 seeds are few",
    ):
        assert part in text


def test_what_does_not_apply_is_not_said(tmp_path):
    whole(tmp_path, {STOCK: [0.30] * 5, STAR: [0.33, 0.34, 0.33, 0.34, 0.33]}, seeds=5)
    text = words_of(tmp_path)
    words = (
        "Resumed",
        "Ended before",
        "are few",
        "do not start alike",
        "different devices",
        "contains 0",
        "not finished",
    )
    assert not [word for word in words if word in text.split("## What these numbers")[1].split("## Files")[0]]


def test_published_weights_of_a_backbone_are_a_start_of_their_own(tmp_path):
    whole(tmp_path)
    plan = json.loads((tmp_path / PLAN).read_text())
    plan["models"][1]["config"]["backbone"] = [[-1, 1, "Network", ["resnet18", {"weights": "a1_in1k"}]]]
    (tmp_path / PLAN).write_text(json.dumps(plan))
    assert r"published weights of its backbone (a1\_in1k): yolov8n-starnet" in words_of(tmp_path)


# tables


def test_names_are_escaped(tmp_path):
    odd = r"a_b&c%d#e$f|g"
    whole(tmp_path, {STOCK: [0.3, 0.31, 0.32], odd: [0.3, 0.29, 0.2]})
    assert r"a\_b&c%d\#e$f\|g" in text_of(tmp_path)
    latex = (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert r"a\_b\&c\%d\#e\$f|g" in latex
    lines = latex.splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = [line for line in lines if line.endswith(r"\\")]
    columns = lines[1].partition("}{")[2].rstrip("}")
    # An & that is not escaped parts two cells: each row has as many as there are columns.
    assert len(rows) == 3 and all(line.replace(r"\&", "").count("&") == len(columns) - 1 for line in rows)
    plain = [line.replace(r"\_", "").replace(r"\%", "").replace(r"\#", "").replace(r"\$", "") for line in rows]
    assert not [line for line in plain if set(line) & set("_%#")] and latex.isascii()
    assert r"$-$0.0" in latex and r"$\pm$" in latex
    assert all(line.count("$") % 2 == 0 for line in plain)


def test_the_console_shows_the_same_cells(tmp_path):
    whole(tmp_path, {STOCK: [0.3, 0.31, 0.32], "[red]x[/red]": [0.31, 0.33, 0.32]})
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(tables.console_table(tmp_path))
    shown = console.export_text()
    cells = tables.frame(read(tmp_path), summarise(read(tmp_path)))
    assert "[red]x[/red]" in shown and all(cell in shown for cell in cells.to_numpy().ravel())
    assert "0.3200 ± 0.0100" in shown


def test_files_hold_every_run_and_epoch(tmp_path):
    whole(tmp_path)
    report.write(tmp_path)
    runs = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert [(row["model"], int(row["seed"]), float(row[BOX])) for row in runs] == [
        (model, seed, score) for model, scores in SCORES.items() for seed, score in enumerate(scores)
    ]
    epochs = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert len(epochs) == 18 and float(epochs[2][BOX]) == pytest.approx(0.30)
    assert len(json.loads((tmp_path / "compare.json").read_text())["runs"]) == 6
    assert not list(tmp_path.glob("*.part"))


def test_curves_of_old_releases_and_of_killed_runs(tmp_path):
    plan_of(tmp_path)
    old, torn = (curves(tmp_path, Record(model, 0)) for model in (STOCK, STAR))
    for file in (old, torn):
        file.parent.mkdir(parents=True)
    old.write_text(f"   epoch,   {BOX}\n       1,    0.1\n       2,    0.2\n")
    torn.write_text(f"epoch,{BOX},lr\n1,0.1,1\n2,0.22,2,0.2,1\n2,0.25,1\n3,0.3,1\n3,0.4,1\n4,0.")
    table = read(tmp_path).curves
    assert list(table.loc[table["model"] == STOCK, BOX]) == [0.1, 0.2]
    assert list(table.loc[table["model"] == STAR, BOX]) == [0.1, 0.25, 0.4]  # whole lines; of two, the later


def test_a_damaged_record_is_a_failed_run(tmp_path):
    whole(tmp_path)
    (tmp_path / "runs" / f"{STAR}-seed0" / "record.json").write_text("{")
    assert "yolov8n-starnet-seed0 failed and is not counted" in words_of(tmp_path)


@pytest.mark.parametrize("name", [PLAN, LATENCY])
def test_a_damaged_file_is_named(tmp_path, name):
    whole(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=f"{name} is no JSON .*; remove it"):
        report.write(tmp_path)


# dependencies


def test_a_missing_package_is_one_sentence():
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'jinja2' else find(name, *rest)\n"
        "import yolo_backbones.compare.report"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(
        "A comparison's report needs jinja2; install it with: pip install yolo-backbones[compare]"
    )
