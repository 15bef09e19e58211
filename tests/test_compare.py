"""Comparisons: what is refused before anything trains, what survives, and that it ends as if nothing had happened."""

import csv
import dataclasses
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, script
from rich.console import Console
from rich.live import Live
from rich.text import Text

from yolo_backbones import compare, environment
from yolo_backbones.compare import data as data_set
from yolo_backbones.compare import live, plan, preflight, process, schedule
from yolo_backbones.compare.plan import Plan
from yolo_backbones.compare.record import FAILED, FINISHED, RUNNING, RUNS, WAITING, Record
from yolo_backbones.compare.worker import snapshot, training
from yolo_backbones.lock import held

STOCK, OURS = "yolov8n.yaml", "yolov8n-vanillanet.yaml"  # its slope runs through a schedule
EPOCHS = 3
# Steps straddle the epochs' ends (nbs), mosaics end before the last epoch.
ARGUMENTS = {"imgsz": 64, "batch": 2, "nbs": 6, "close_mosaic": 1, "optimizer": "AdamW", "plots": False}
PAIRS = [f"{key}={value}" for key, value in ARGUMENTS.items()]


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "yolo_backbones.cli", "compare", STOCK, OURS, "--data", str(data), "--epochs",
        str(EPOCHS), "--seeds", "2", "--jobs", "2", "--out", str(out), *PAIRS, *more,
    ]  # fmt: skip


def curve(out: Path, record: Record) -> list[dict[str, str]]:
    """What a run has in each epoch, apart from the time."""
    with open(out / RUNS / record.name / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "time"} for row in csv.DictReader(file)]


def records(out: Path) -> list[Record]:
    return [Record.read(out, *run) for run in Plan.read(out).runs()]


def figures(out: Path) -> dict[str, object]:
    """All that must not depend on how often a comparison was stopped."""
    return {
        record.name: (
            record.epochs,
            record.parameters,
            record.gflops,
            record.metrics,
            record.classes,
            curve(out, record),
        )
        for record in records(out)
    }


def report(out: Path) -> tuple[object, ...]:
    """All that the report says which must not depend on it either."""
    with open(out / "compare.csv", newline="") as file:
        runs = [{key: row[key] for key in row.keys() - TIMES} for row in csv.DictReader(file)]
    models = json.loads((out / "compare.json").read_text())["models"]
    words = (out / "report.md").read_text().split("## Result")[1].split("\n| model")[0]
    return runs, [{key: model[key] for key in model.keys() - TIMES} for model in models], words


TIMES = {"seconds", "memory", "attempts", "resumed"}


# ---- trainings ----


@pytest.fixture(scope="module")
def whole(few_shapes, tmp_path_factory) -> Path:
    """The folder of a comparison that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = subprocess.run(command(few_shapes, out), capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_each_run_is_a_training_and_leaves_a_record(whole):
    found = records(whole)
    assert [(record.model, record.seed) for record in found] == [
        ("yolov8n", 0), ("yolov8n-vanillanet", 0), ("yolov8n", 1), ("yolov8n-vanillanet", 1),
    ]  # fmt: skip
    for record in found:
        assert record.state == FINISHED and record.attempts == 1 and record.epochs == EPOCHS
        assert record.parameters > record.parameters_fused and record.gflops >= record.gflops_fused > 0
        assert record.seconds > 0 and record.memory > 100 and record.device and record.images == 4
        assert "metrics/mAP50-95(B)" in record.metrics and len(record.classes) > 1
        assert not (whole / RUNS / record.name / snapshot.FILE).exists()
    first, second = curve(whole, found[0]), curve(whole, found[2])
    assert first != second, "another seed is another training"


def test_a_run_is_what_yolo_train_does(whole, few_shapes, tmp_path, run_cli):
    pairs = [
        *PAIRS,
        f"data={few_shapes}",
        f"epochs={EPOCHS}",
        "seed=1",
        f"project={tmp_path}",
        "name=plain",
        "device=cpu",
    ]
    run_cli(["yolo", "train", f"model={OURS}", *pairs], env={"OMP_NUM_THREADS": "1"})
    with open(tmp_path / "plain" / "results.csv", newline="") as file:
        plain = [{key: value for key, value in row.items() if key != "time"} for row in csv.DictReader(file)]
    assert curve(whole, Record("yolov8n-vanillanet", 1)) == plain


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def workers(out: Path) -> list[psutil.Process]:
    """The processes of runs in that folder."""
    return [found for found in psutil.process_iter(["cmdline"]) if str(out) in (found.info["cmdline"] or [])]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_killed_twice_it_ends_as_one_that_was_left_alone(whole, few_shapes, tmp_path):
    out = tmp_path.resolve() / "out"

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            command(few_shapes, out), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def under_way() -> list[Record]:
        found = records(out) if (out / "plan.json").exists() else []
        return [record for record in found if record.state == RUNNING and 0 < record.epochs < EPOCHS]

    first = start()
    wait_for(under_way, first)
    assert workers(out)
    first.kill()
    first.communicate()
    deadline = time.monotonic() + 300
    while workers(out):
        assert time.monotonic() < deadline, "a run goes on without the command"
        time.sleep(0.05)
    assert not any(record.state == FINISHED for record in records(out))

    second = start()
    wait_for(lambda: any(record.seed == 1 for record in under_way()), second)
    victim = next(record for record in under_way() if record.seed == 1)
    (killed,) = (found for found in workers(out) if found.info["cmdline"][-3:-1] == [victim.model, "1"])
    killed.kill()
    said, _ = second.communicate()
    assert second.returncode == 1, said
    log = out / RUNS / f"{victim.name}.log"
    assert f"{victim.name} failed: it was killed (SIGKILL), as happens where memory runs out; its log is" in said
    assert log.name in said and "Epoch" in log.read_text()
    assert [record.name for record in records(out) if record.state == FAILED] == [victim.name], "the others go on"

    third = start()
    said, _ = third.communicate()
    assert third.returncode == 0, said
    ended = {record.name: record for record in records(out)}
    assert ended[victim.name].attempts == 2 and ended[victim.name].resumed
    assert any(record.resumed for record in ended.values() if record.seed == 0), "the kill of the command"
    assert all(record.attempts == 1 + len(record.resumed) for record in ended.values() if record.resumed)
    assert figures(out) == figures(whole)
    assert report(out) == report(whole)
    assert "±" in said, "the table of means"
    assert said.count("started") == 1, "what has finished is not trained again"


@pytest.fixture
def one_run(few_shapes, tmp_path) -> Path:
    """The folder of a comparison of one run, before it."""
    found, task, _ = preflight.models([STOCK])
    Plan(found, [0], ARGUMENTS, task, data_set.describe(str(few_shapes), task, ARGUMENTS), 1).write(tmp_path)
    return tmp_path


def test_one_that_ended_after_its_last_epoch_is_only_validated(one_run, monkeypatch):
    measured = []

    def interrupted(self, best, found):
        measured.append(found.results_dict)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.Training(one_run, "yolov8n", 0, "cpu").run()
    before = curve(one_run, Record("yolov8n", 0))
    monkeypatch.setattr(training.Training, "_train", None)
    training.Training(one_run, "yolov8n", 0, "cpu").run()
    record = Record.read(one_run, "yolov8n", 0)
    assert record.state == FINISHED and curve(one_run, record) == before
    assert {key: measured[0][key] for key in record.metrics} == record.metrics


CLASSIFIER = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Greedy, []]
head:
  - [-1, 1, Classify, [nc]]
"""
GREEDY = """
from torch import nn
from yolo_backbones import register

@register(like="CBAM")
class Greedy(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        if self.training:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return x
"""


@pytest.fixture
def digits(tmp_path) -> Path:
    """A data set for classification: dark and light pictures."""
    folder = tmp_path / "digits"
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, low in (("dark", 0), ("light", 128)):
            (folder / split / name).mkdir(parents=True)
            for number in range(4):
                picture = draw.integers(low, low + 100, (32, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / split / name / f"{number}.png"), picture)
    return folder


def test_classification_and_a_model_that_runs_out_of_memory(digits, tmp_path, run_cli):
    (tmp_path / "blocks.py").write_text(GREEDY)
    (tmp_path / "greedy-cls.yaml").write_text(CLASSIFIER)
    arguments = ["--data", digits, "--epochs", "1", "--seeds", "1", "--jobs", "2", "--out", "out"]
    models = ["yolov8n-cls.yaml", "greedy-cls.yaml", "imgsz=32", "batch=4"]
    with pytest.raises(AssertionError, match="returned 1") as said:
        run_cli(
            ["python", "-m", "yolo_backbones.cli", "compare", *models, *arguments],
            cwd=tmp_path,
            env={environment.BLOCKS: str(tmp_path / "blocks.py")},
        )
    out = tmp_path / "out"
    good, greedy = records(out)
    assert good.state == FINISHED and 0 <= good.metrics["metrics/accuracy_top1"] <= 1
    assert good.task == "classify" and good.images == 8 and good.classes == {}
    assert greedy.state == FAILED and "CUDA out of memory" in greedy.error
    assert "give all models a smaller batch=, or leave this one out" in str(said.value)
    assert "Reducing to batch" not in (out / RUNS / f"{greedy.name}.log").read_text()


CLUSTER = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from yolo_backbones import compare
from yolo_backbones.compare.record import Record

data, out = sys.argv[1], Path(sys.argv[2])
small = {"object_store_memory": 150 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]

def kill_one():
    while not all(0 < Record.read(out, "yolov8n-starnet", seed).epochs for seed in (0, 1)):
        time.sleep(0.1)
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("one node is gone", flush=True)

threading.Thread(target=kill_one, daemon=True).start()
where = compare.Where(ray=cluster.address, cpus=1)
arguments = {"imgsz": 64, "batch": 2, "plots": False}
try:
    compare.compare(["yolov8n-starnet.yaml"], data, 8, [0, 1], arguments, out, where)
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
def test_of_two_nodes_one_is_killed_and_all_runs_finish(few_shapes, tmp_path, run_cli):
    pytest.importorskip("ray", reason='Ray is an extra: pip install "yolo-backbones[ray]"')
    script, out = tmp_path / "cluster.py", tmp_path / "out"
    script.write_text(CLUSTER)
    said = run_cli(["python", script, few_shapes, out], env={"HOME": str(tmp_path)}).stdout  # Ray writes a token there
    assert "one node is gone" in said
    found = records(out)
    assert [(record.state, record.epochs) for record in found] == [(FINISHED, 8), (FINISHED, 8)]
    assert sorted(record.attempts for record in found) == [1, 2], "the other run stayed where it was"
    assert all(len(curve(out, record)) == 8 for record in found)
    for record in found:
        folder = out / RUNS / record.name
        assert (folder / "weights" / "best.pt").exists() and not (folder / snapshot.FILE).exists()
        assert "Epoch" in process.log_of(out, record).read_text()
    assert not (out / "ray").exists()


def test_without_ray_nothing_of_it_is_imported(run_cli):
    code = "import sys, yolo_backbones.compare.preflight, yolo_backbones.compare.data; print('ray' in sys.modules)"
    assert run_cli(["python", "-c", code]).stdout.strip() == "False"


# ---- runs that only pretend ----

PRETENDER = """
import os, sys, time
from pathlib import Path
folder, model, seed, device = sys.argv[1:]
from yolo_backbones.compare.record import FINISHED, Record
print("begun", os.environ["OMP_NUM_THREADS"], device, flush=True)
if model == "fails":
    print("x" * 100)
    raise ValueError("a row is wrong")
if model == "silent":
    time.sleep(60)
record = Record.read(Path(folder), model, int(seed))
record.state, record.epochs = FINISHED, 5
record.write(Path(folder))
"""


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Does runs of such models, and returns their records, in the order in which they ended."""
    monkeypatch.setattr(process, "_START", PRETENDER)
    monkeypatch.setattr(schedule, "INTERVAL", 0.05)

    def run(*models, places=(("cpu", 1),), stall=30.0, show=lambda record: None):
        waiting, ended = [Record.read(tmp_path, model, 0) for model in models], []
        schedule.run(tmp_path, waiting, places, stall, show, ended.append)
        return ended

    (tmp_path / RUNS).mkdir()
    return run


def test_one_that_fails_is_told_with_its_last_words_and_the_others_go_on(pretend):
    failed, good = pretend("fails", "good")
    assert (failed.state, failed.error) == (FAILED, "ValueError: a row is wrong")
    assert (good.state, good.epochs) == (FINISHED, 5)
    (again,) = pretend("fails")
    assert again.attempts == 2


def test_one_that_prints_nothing_is_ended(pretend):
    start = time.monotonic()
    good, silent = sorted(pretend("silent", "good", stall=3.0), key=lambda record: record.model)
    assert time.monotonic() - start < 120
    assert silent.error == "it printed nothing for 0.05 minutes and was ended; --stall gives it longer"
    assert good.state == FINISHED


def test_each_place_has_one_run_at_a_time(pretend, tmp_path):
    at_once = []

    def show(record):
        at_once.append(sum(Record.read(tmp_path, name, 0).state == RUNNING for name in "abcd"))

    assert len(pretend(*"abcd", places=(("cpu", 3), ("1", 2)), show=show)) == 4
    assert max(at_once) <= 2
    begun = {(tmp_path / RUNS / f"{name}-seed0.log").read_text().split("\n")[0] for name in "abcd"}
    assert begun == {"begun 3 cpu", "begun 2 1"}


def test_an_interrupt_ends_the_processes_and_their_runs_wait(pretend, tmp_path):
    def interrupt(record):
        if "begun" in (tmp_path / RUNS / "silent-seed0.log").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretend("silent", show=interrupt)
    assert Record.read(tmp_path, "silent", 0).state == WAITING
    assert workers(tmp_path) == []


# ---- before anything trains ----


def ask(tmp_path, few_shapes, **changes):
    """Ask for a comparison in this process."""
    asked = {
        "models": [STOCK], "data": str(few_shapes), "epochs": 1, "seeds": [0], "arguments": {},
        "folder": tmp_path / "out", "where": compare.Where("cpu"),
    }  # fmt: skip
    return compare.compare(**{**asked, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ["yolov8n-starnte.yaml"]}, "is no model that can be built: .* did you mean yolov8n-starnet.yaml"),
        ({"models": ["yolov8n-starnet"]}, "neither a model's config nor a checkpoint; name a .yaml or a .pt"),
        ({"models": [STOCK, "yolov8n-seg.yaml"]}, "is for detect, .*seg.yaml is for segment; take those of one"),
        ({"models": ["yolov8n-seg.yaml"]}, "Please supply a segment dataset"),
        ({"models": ["yolov8n-cls.yaml"]}, "classify whole images, for which a data set is a folder"),
        ({"models": ["yolov8n-obb.yaml"]}, "Please supply an OBB dataset"),
        ({"data": "nowhere.yaml"}, "--data nowhere.yaml: .* does not exist"),
        ({"where": compare.Where("77")}, "there is no GPU 77, torch .* finds"),
        ({"where": compare.Where("gpu")}, "'gpu' is neither cpu nor the number of a GPU; write 0,1 or cpu"),
        ({"arguments": {"batch": -1}}, "batch=-1 would give each model a batch of its own size"),
        ({"arguments": {"seed": 3}}, "seed=3: a comparison sets seed itself; leave it out"),
        ({"arguments": {"device": 0}}, "device=0: a comparison sets device itself; leave it out"),
        ({"arguments": {"time": 2.0}}, "its own number of epochs; leave it out and give --epochs"),
        ({"arguments": {"imgsz": "big"}}, "imgsz=big is no size to train with; give one number"),
        ({"arguments": {"pretrained": "nowhere.yaml"}}, "nowhere.yaml is no model that can be built"),
        ({"arguments": {"distill_model": "nowhere.pt"}}, "nowhere.pt is no model that can be built"),
        ({"arguments": {"distill_model": STOCK}}, "yolov8n.yaml is no teacher; give the checkpoint of a trained model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_what_cannot_be_done_is_said_at_once(few_shapes, tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        ask(tmp_path, few_shapes, **changes)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_second_call_on_a_folder_says_so_and_leaves(few_shapes, tmp_path):
    with (
        held(tmp_path / "out", "comparison", "--out"),
        pytest.raises(ValueError, match=r"another comparison is running in .*out; wait"),
    ):
        ask(tmp_path, few_shapes)


def test_arguments_of_the_command_are_refused_before_torch_looks_at_a_model(run_cli, few_shapes):
    for word, said in (
        ("seed=3", "this command sets seed itself"),
        ("imgzs=64", "'imgzs' is not a valid YOLO argument"),
    ):
        with pytest.raises(AssertionError, match=said):
            run_cli(["python", "-m", "yolo_backbones.cli", "compare", STOCK, word, "--data", few_shapes])


A_PLAN = Plan(
    [{"name": "a", "hash": "1", "parameters": 1000}, {"name": "b", "hash": "2", "parameters": 2000}],
    [0, 1],
    {"imgsz": 64},
    "detect",
    {"path": "/data.yaml", "hash": "3", "names": ["x", "y"], "train": 8, "val": 4},
    10,
    {"torch": "2.0", "ultralytics": "8.4"},
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 20}, "its epochs: 10, and now: 20"),
        ({"arguments": {"imgsz": 64, "batch": 4}}, "its arguments batch: 'not set', and now: 4"),
        ({"versions": {"torch": "2.1", "ultralytics": "8.4"}}, "its versions torch: '2.0', and now: '2.1'"),
        ({"data": {**A_PLAN.data, "hash": "4"}}, "its data were /data.yaml, and now .* have changed"),
        ({"models": A_PLAN.models[::-1]}, "held to its first model, a, and now that is b"),
        ({"models": [{**A_PLAN.models[0], "hash": "9"}]}, "its model a was another one"),
    ],
)  # fmt: skip
def test_a_folder_of_another_plan_is_refused_with_the_difference(tmp_path, changes, said):
    A_PLAN.write(tmp_path)
    with pytest.raises(ValueError, match=f"holds another comparison: .*{said}.*; give another --out"):
        plan.extend(tmp_path, dataclasses.replace(A_PLAN, **changes))
    assert Plan.read(tmp_path) == A_PLAN


def test_models_and_seeds_may_be_added_and_none_is_lost(tmp_path):
    A_PLAN.write(tmp_path)
    more = dataclasses.replace(A_PLAN, models=[A_PLAN.models[0], {"name": "c", "hash": "5"}], seeds=[0, 1, 2])
    extended = plan.extend(tmp_path, more)
    assert [model["name"] for model in extended.models] == ["a", "b", "c"] and extended.seeds == [0, 1, 2]
    assert plan.extend(tmp_path, dataclasses.replace(A_PLAN, models=A_PLAN.models[:1], seeds=[0])) == A_PLAN
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="holds no plan"):
        plan.extend(tmp_path, more)


def test_names_of_runs_are_unique():
    assert [preflight._unique("best", taken) for taken in ([], ["best"], ["best", "best-2"])] == [
        "best", "best-2", "best-3",
    ]  # fmt: skip


def test_a_full_disk_is_known_before(monkeypatch, tmp_path):
    free = [10**9]
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free[0]}))
    preflight.check_room(A_PLAN, tmp_path, 1)
    free[0] = 4 * 3000 * 2 + 40 * 2000  # what stays of four runs, and less than one needs while it trains
    with pytest.raises(ValueError, match=r"4 runs need about .* give --out on another disk"):
        preflight.check_room(A_PLAN, tmp_path, 1)


def test_what_should_be_known_is_said():
    few = dataclasses.replace(A_PLAN, data={**A_PLAN.data, "val": 1})
    assert [said.split(":")[0] for said in preflight.doubts(few, {"a": 80, "b": 2})] == [
        "1 validation images for 2 classes",
        "a was trained on 80 classes and the data have 2",
    ]
    assert preflight.doubts(A_PLAN, {}) == []


@pytest.mark.parametrize(("asked", "jobs", "places"), [("cpu", None, [8]), ("cpu", 2, [4, 4]), ("cpu", 9, [1] * 9)])
def test_runs_on_the_processor_share_its_threads(asked, jobs, places):
    assert preflight.devices(asked, jobs, 8) == [("cpu", threads) for threads in places]


def test_gpus_have_one_run_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert preflight.devices("0,1", None, 8) == [("0", 4), ("1", 4)]
    assert preflight.devices("", None, 8) == [("0", 8)]
    with pytest.raises(ValueError, match=r"there is no GPU 2, .* finds 2; take numbers below 2"):
        preflight.devices("0,2", None, 8)
    with pytest.raises(ValueError, match="named twice"):
        preflight.devices("1,1", None, 8)
    with pytest.raises(ValueError, match="--jobs is for the CPU"):
        preflight.devices("0,1", 2, 8)


# ---- parts ----


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_damaged_snapshot_is_none(tmp_path, content):
    (tmp_path / "weights").mkdir()
    (tmp_path / snapshot.FILE).write_bytes(content)
    assert snapshot.Snapshot.read(tmp_path) is None


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Epoch 1\nTraceback:\n  File x\ntorch.OutOfMemoryError: CUDA out.\n", "torch.OutOfMemoryError: CUDA out."),
        ("ValueError: old\n\x1b[1mOSError\x1b[0m: [Errno 28] No space\nsaving\n", "OSError: [Errno 28] No space"),
        ("Segmentation fault\n\n", "Segmentation fault"),
        ("", ""),
    ],
)  # fmt: skip
def test_last_words(tmp_path, log, words):
    (tmp_path / "log").write_text(log)
    assert process.last_words(tmp_path / "log") == words


def test_time_left_follows_from_what_is_known(tmp_path):
    done = Record("a", 0, FINISHED, epochs=10, seconds=100)
    half = Record("b", 0, RUNNING, epochs=5, seconds=100)
    with live.watch(tmp_path, [done, half, Record("a", 1), Record("b", 1)], 10, 2) as view:
        assert [view.left(record) for record in view.records.values()] == [0, 100, 100, 200]
        assert view.all_left() == (100 + 100 + 200) / 2
        assert view.summary() == "1 of 4 runs finished, about 3 min left"
    with live.watch(tmp_path, [Record("a", 0), Record("c", 0)], 10, 1) as view:
        assert view.left(view.records["a-seed0"]) is None and view.summary() == "0 of 2 runs finished"


def test_the_table_has_what_fits_running_ones_first(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=10)
    running = Record("model0", 7, RUNNING, epochs=3, metrics={"metrics/accuracy_top1": 0.5})
    records = [*(Record("model0", seed) for seed in range(7)), running]
    with Live(console=console, auto_refresh=False) as drawn:
        view = live._Table(drawn, tmp_path, records, 10, 1)
        view.draw()
        before = len(console.file.getvalue())
        view.show(dataclasses.replace(running))
        assert len(console.file.getvalue()) == before, "nothing has changed"
        view.ended(dataclasses.replace(running, state=FAILED, error="RuntimeError: no"))
    lines = Text.from_ansi(console.file.getvalue()[:before]).plain.splitlines()
    assert lines[0].startswith("0 of 8 runs finished") and lines[1].split() == [
        "run",
        "state",
        "epoch",
        "top-1",
        "left",
    ]
    assert lines[2].split() == ["model0-seed7", "running", "3/10", "0.500", "0", "s"]
    assert lines[-1].strip() == "and 2 more" and len(lines) == 9
    assert "failed after 3 epochs: RuntimeError: no; its log is" in console.file.getvalue()[before:].replace("\n", "")


def test_lines_tell_of_beginning_and_end(tmp_path, capsys):
    record = Record("a", 0, RUNNING)
    with live.watch(tmp_path, [record], 10, 1) as view:
        for epochs in range(3):
            record.epochs = epochs
            view.show(record)
        record.state, record.error = FAILED, "ValueError: no"
        view.ended(record)
    began, ended = capsys.readouterr().out.splitlines()
    assert began.startswith("a-seed0: started, log in ") and began.endswith("a-seed0.log")
    assert ended.startswith("a-seed0: failed after 2 epochs: ValueError: no; its log is ") and "1 failed" in ended


def test_learn_is_a_comparison(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    learn = script("learn")
    out = tmp_path / "out"
    asked = []

    def pretend(models, data, epochs, seeds, arguments, folder, where):
        asked.append((models, data, epochs, seeds, arguments["imgsz"], where.jobs))
        folder.mkdir()
        (folder / "curves.png").write_bytes(b"picture")
        (folder / "table.md").write_text("a table")
        scores = {("a", 0): 0.2, ("a", 1): 0.3, ("b", 0): 0.125, ("b", 1): 0.125}
        return [
            Record(*run, FINISHED, metrics={learn.MAP50: 2 * score, learn.MAP: score}) for run, score in scores.items()
        ]

    monkeypatch.setattr(learn.compare, "compare", pretend)
    options = ["--models", "a", "b", "--seed", "0", "1", "--jobs", "2", "--imgsz", "64"]
    monkeypatch.setattr(sys, "argv", ["learn.py", "--data", "x.yaml", "--out", str(out), *options])
    learn.main()
    assert asked == [(["a", "b"], "x.yaml", 25, [0, 1], 64, 2)]
    assert (out / "learn.csv").read_text().split() == [
        "model,seeds,mAP50,mAP50-95,sd,ratio",
        "a,2,0.5,0.25,0.0707,1.0",
        "b,2,0.25,0.125,0.0,0.5",
    ]
    assert (out / "learn.png").read_bytes() == b"picture"
    assert (out / "learn.md").read_text() == "a table"
