"""The benchmark: real processes on small models, and its bookkeeping with processes that only pretend."""

import csv
import importlib.util
import json
import os
import re
from dataclasses import replace

import pytest
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import ROOT as ULTRALYTICS

from yolo_backbones.bench import BACKENDS, Settings, measure, plot, process, race, session

COMMAND = ["python", "-m", "yolo_backbones.cli", "bench"]
SMALL = Settings(imgsz=64, threads=1, repeats=3, warmup=1)
QUICK = replace(SMALL, before_fuse=False)
STOCK = "yolov8n.yaml"


# real processes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    file = tmp_path_factory.mktemp("checkpoint") / "starnet.pt"
    YOLO("yolov8n-starnet.yaml").save(file)
    return file


@pytest.fixture(scope="module")
def measured(run_cli, checkpoint, coco8, tmp_path_factory):
    """A whole run: what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("bench")
    before = {file: file.stat().st_mtime_ns for file in checkpoint.parent.iterdir()}
    options = ["--imgsz", 64, "--repeats", 3, "--threads", 1, "--backend", "torch,onnx", "--data", coco8]
    # Elsewhere a terminal's width may be in the environment; without one, lines are whole.
    done = run_cli([*COMMAND, STOCK, checkpoint, *map(str, options), "--out", "kept"], folder, {"COLUMNS": ""})
    assert {file: file.stat().st_mtime_ns for file in checkpoint.parent.iterdir()} == before
    assert [file.name for file in folder.iterdir()] == ["kept"]
    return done.stdout, folder / "kept"


def rows_of(folder):
    return {(row["model"], row["backend"]): row for row in json.loads((folder / "bench.json").read_text())["rows"]}


def test_a_run_measures_every_model_on_every_backend(measured, checkpoint):
    rows = rows_of(measured[1])
    assert list(rows) == [(m, backend) for backend in ("torch", "onnx") for m in (STOCK, str(checkpoint))]
    with_fuse = tasks.DetectionModel(STOCK, verbose=False).fuse(verbose=False)
    for (model, backend), row in rows.items():
        assert row["error"] == "" and row["rounds"] == 3 and row["hardware"]
        assert 0 < row["fastest_ms"] <= row["quartile1_ms"] <= row["median_ms"] <= row["quartile3_ms"]
        assert (row["before_fuse_ms"] is not None) == (backend == "torch")
        assert row["ratio_quartile1"] <= row["ratio"] <= row["ratio_quartile3"]
        assert row["memory_mb"] > 10  # its weights alone take 12 MB
        assert (row["map50_95"] is not None) == (model != STOCK)
        if model == STOCK:
            assert row["ratio"] == 1
            assert row["parameters"] == sum(p.numel() for p in with_fuse.parameters())
            assert row["gflops"] == pytest.approx(8.74 / 100, rel=0.01)  # of 640 px, a hundredth of the pixels
            assert row["reference_ms"] == row["median_ms"]


def test_a_run_shows_a_table_and_writes_it(measured, checkpoint):
    out, folder = measured
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        [model, backend] for backend in ("torch", "onnx") for model in (STOCK, str(checkpoint))
    ]
    for title in ("params (M)", "GFLOPs", "before fuse (ms)", "median (ms)", "ratio", "memory (MB)", "mAP50-95"):
        assert title in lines[0]
    with open(folder / "bench.csv", newline="") as file:
        written = {(row["model"], row["backend"]): row for row in csv.DictReader(file)}
    for key, row in rows_of(folder).items():
        assert written[key] == {name: "" if value is None else str(value) for name, value in row.items()}
    kept = json.loads((folder / "bench.json").read_text())
    assert kept["settings"]["imgsz"] == 64 and kept["reference"] == {"model": STOCK}
    assert kept["hardware"]["processor"] and kept["hardware"]["torch"] and kept["date"]
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")


DEATHS = {
    "Killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed (SIGKILL), as happens where memory runs out"),
    "Left": ("os._exit(3)", "ended by itself with exit code 3"),
    "Raised": ("raise MemoryError('too much')", "MemoryError: too much"),
}
BLOCK = """
@register(like="Conv")
class {name}(nn.Module):
    def __init__(self, c1, c2, k, s):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2)

    def forward(self, x):
        if x.shape[-1] == 64:
            {death}
        return self.conv(x)
"""


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """`failing(Name="code")` gives the config of a model that runs the code in its forward."""

    def configs(**deaths):
        blocks = [BLOCK.format(name=name, death=death) for name, death in deaths.items()]
        imports = "import os\nimport signal\nimport time\nfrom torch import nn\nfrom yolo_backbones import register\n"
        (tmp_path / "failing.py").write_text(imports + "".join(blocks))
        monkeypatch.setenv("YOLO_BACKBONES_BLOCKS", str(tmp_path / "failing.py"))
        config = yaml.safe_load((ULTRALYTICS / "cfg" / "models" / "v8" / "yolov8.yaml").read_text())
        for name in deaths:
            config["backbone"][0][2] = name
            file = tmp_path / f"yolov8n-{name.lower()}.yaml"
            file.write_text(yaml.safe_dump(config))
            yield str(file)

    return configs


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_model_that_fails_loses_only_its_row(tmp_path, failing):
    models = [STOCK, *failing(**{name: death for name, (death, _) in DEATHS.items()})]
    well, *dead, unknown = measure([*models, "yolov8n-starnett.yaml"], ["torch"], QUICK, tmp_path / "out")
    assert (well.rounds, well.ratio, well.error) == (3, 1, "")
    assert [row.error for row in dead] == [error for _, error in DEATHS.values()]
    assert "did you mean yolov8n-starnet.yaml" in unknown.error
    assert not any(row.rounds for row in [*dead, unknown])


def test_openvino_reads_the_same_file(tmp_path):
    pytest.importorskip("openvino", reason="the benchmark's OpenVINO backend needs the openvino package")
    (row,) = measure([STOCK], ["openvino"], SMALL, tmp_path)
    assert row.error == "" and row.rounds == 3 and row.before_fuse_ms is None and row.parameters > 3e6


def test_a_worker_that_dies_in_the_middle_of_a_race_leaves_it(tmp_path, monkeypatch):
    class Mortal(process.Worker):
        runs = 0

        def ask(self, action, arguments):
            Mortal.runs += action == "run"
            if Mortal.runs == 4:  # in the second round of two models
                self._process.kill()
            return super().ask(action, arguments)

    monkeypatch.setattr(race, "Worker", Mortal)
    rows = measure([STOCK, "yolov8s.yaml"], ["torch"], QUICK, tmp_path)
    assert sorted(row.rounds for row in rows) == [0, 3]
    assert "SIGKILL" in next(row.error for row in rows if not row.rounds)


def test_a_model_that_hangs_loses_only_its_row(tmp_path, failing):
    models = [STOCK, *failing(Hanging="time.sleep(600)")]
    well, hung = measure(models, ["torch"], QUICK, tmp_path / "out", limit=40)
    assert (well.rounds, well.error) == (3, "")
    assert (hung.rounds, hung.error) == (0, "no answer within 40 s; --time-limit gives it longer")


def test_a_gpu_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"device=99, and torch .* finds .* take --device cpu"):
        measure([STOCK], ["torch"], Settings(device="99"), tmp_path)


def test_help_imports_no_backend(run_cli):
    code = """
import sys
from yolo_backbones import cli
try:
    cli.main(["bench", "--help"])
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = run_cli(["python", "-c", code], env={"COLUMNS": "200"})
    assert "without pre- and postprocessing" in " ".join(done.stdout.split())
    imported = {*done.stderr.splitlines()[-1].split()}
    assert not {"torch", "timm", "ultralytics", "numpy", "onnxruntime", "openvino", "matplotlib"} & imported


def test_the_parent_imports_no_backend(run_cli):
    code = "import sys, yolo_backbones.bench; print(*sys.modules)"
    imported = {*run_cli(["python", "-c", code]).stdout.split()}
    assert not {"torch", "timm", "ultralytics", "numpy", "onnxruntime", "openvino", "matplotlib"} & imported


# bookkeeping, with workers that only pretend


class Pretender:
    """Says that a forward of `name-7.yaml` takes 7 seconds."""

    asked: list = []  # noqa: RUF012  # of all of them, in their order
    available = 10**12
    interrupt_at = None

    def __init__(self, role, threads, limit=None):
        self.role = role
        self.ended = False

    def ask(self, action, arguments):
        assert not self.ended, "a worker that failed has ended"
        model = arguments.get("model", self.__dict__.get("model"))
        self.model = model
        Pretender.asked.append((self.role, action, model))
        if action == "run":
            if sum(done == "run" for _, done, _ in Pretender.asked) == Pretender.interrupt_at:
                raise KeyboardInterrupt
            named = re.search(r"-(\d+)", os.path.basename(model))
            return {"seconds": float(named[1] if named else 1)}
        if action == "validate":
            return {"map50_95": 0.5}
        if "broken" in model:
            self.ended = True
            raise process.WorkerError("broken")
        return {"hardware": "pretended", "memory": 2**20, "held": 1, "available": Pretender.available, "parameters": 1}

    def close(self):
        Pretender.asked.append((self.role, "close", self.model))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Runs `measure` with pretenders: returns what was loaded, and the rows by model."""
    monkeypatch.setattr(Pretender, "asked", [])
    monkeypatch.setattr(Pretender, "available", 10**12)
    monkeypatch.setattr(Pretender, "interrupt_at", None)
    for module in (race, session):
        monkeypatch.setattr(module, "Worker", Pretender)

    def run(*models, backends=("torch",), settings=QUICK, **options):
        Pretender.asked.clear()
        rows = measure(models, backends, settings, tmp_path, **options)
        loaded = [model for _, action, model in Pretender.asked if action == "load"]
        return loaded, {row.model: row for row in rows}

    return run


def test_a_second_run_measures_only_what_is_missing_and_the_reference(pretend):
    loaded, rows = pretend("a-2.yaml", "b-1.yaml")
    assert loaded == ["a-2.yaml", "b-1.yaml"] and rows["b-1.yaml"].ratio == 0.5
    assert pretend("a-2.yaml", "b-1.yaml")[0] == []
    loaded, rows = pretend("a-2.yaml", "b-1.yaml", "c-4.yaml")
    assert loaded == ["a-2.yaml", "c-4.yaml"] and list(rows) == ["a-2.yaml", "b-1.yaml", "c-4.yaml"]
    assert rows["c-4.yaml"].ratio == 2 and rows["c-4.yaml"].reference_ms == 2000
    assert pretend("a-2.yaml", "c-4.yaml", fresh=True)[0] == ["a-2.yaml", "c-4.yaml"]


def test_a_changed_file_is_measured_again(pretend, tmp_path):
    one, other = tmp_path / "one-2.yaml", tmp_path / "other-3.yaml"
    for file in (one, other):
        file.write_text("nc: 1")
    models = [str(one), str(other)]
    assert pretend(*models)[0] == models
    other.touch()
    assert pretend(*models)[0] == []
    other.write_text("nc: 2")
    assert pretend(*models)[0] == models
    one.write_text("nc: 2")
    assert pretend(*models, "c-4.yaml")[0] == [*models, "c-4.yaml"]  # their ratios were to the old one


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(pretend, tmp_path):
    Pretender.interrupt_at = 5  # in the third round of two models
    with pytest.raises(KeyboardInterrupt):
        pretend("a-2.yaml", "b-1.yaml")
    assert [model for _, action, model in Pretender.asked if action == "close"] == ["a-2.yaml", "b-1.yaml"]
    kept = rows_of(tmp_path)
    assert {row["rounds"] for row in kept.values()} == {2} and kept["b-1.yaml", "torch"]["ratio"] == 0.5
    assert (tmp_path / "bench.csv").exists() and (tmp_path / "bench.png").exists()
    Pretender.interrupt_at = None
    loaded, rows = pretend("a-2.yaml", "b-1.yaml")
    assert loaded == ["a-2.yaml", "b-1.yaml"] and rows["b-1.yaml"].rounds == 3


def test_a_race_that_does_not_fit_into_memory_is_run_in_groups_with_the_reference(pretend):
    Pretender.available = 1
    loaded, rows = pretend("a-2.yaml", "b-1.yaml", "c-4.yaml", "d-6.yaml")
    assert loaded == ["a-2.yaml", "b-1.yaml", "a-2.yaml", "c-4.yaml", "a-2.yaml", "d-6.yaml"]
    assert [row.ratio for row in rows.values()] == [1, 0.5, 2, 3]
    alive = set()
    for _, action, model in Pretender.asked:
        alive |= {model} if action == "load" else set()
        alive -= {model} if action == "close" else set()
        assert len(alive) <= 2
    assert not alive


def test_every_round_has_each_model_once_in_an_order_of_its_own(pretend):
    names = ["a-1.yaml", "b-1.yaml", "c-1.yaml"]
    pretend(*names, settings=replace(QUICK, repeats=8))
    runs = [model for _, action, model in Pretender.asked if action == "run"]
    rounds = [tuple(runs[i : i + 3]) for i in range(0, len(runs), 3)]
    assert len(rounds) == 8 and all(sorted(turn) == names for turn in rounds)
    assert len(set(rounds)) > 2


def test_what_cannot_be_exported_still_runs_in_torch(pretend, tmp_path):
    _, rows = pretend("a-2.yaml", "broken.yaml", "b-1.yaml", backends=("torch", "onnx"))
    assert rows["broken.yaml"].error == "broken"
    exported = [(role, model) for role, action, model in Pretender.asked if action == "export"]
    assert exported == [("network", model) for model in ("a-2.yaml", "broken.yaml", "b-1.yaml")]
    assert ("torch", "load", "broken.yaml") in Pretender.asked
    assert not any(role == "onnx" and model == "broken.yaml" for role, _, model in Pretender.asked)
    assert all(rows_of(tmp_path)[model, "onnx"]["rounds"] == 3 for model in ("a-2.yaml", "b-1.yaml"))


def test_a_checkpoint_is_validated_once_for_each_data_set(pretend, tmp_path):
    file = tmp_path / "best-2.pt"
    file.write_bytes(b"weights")

    def validated(**options):
        _, rows = pretend("a-1.yaml", str(file), **options)
        assert rows["a-1.yaml"].map50_95 is None
        return [model for _, action, model in Pretender.asked if action == "validate"], rows[str(file)]

    assert validated()[0] == []
    models, row = validated(data="one.yaml")
    assert models == [str(file)] and (row.map50_95, row.data) == (0.5, "one.yaml")
    assert validated(data="one.yaml")[0] == []
    assert validated(data="other.yaml")[0] == [str(file)]


@pytest.mark.parametrize(
    ("models", "settings", "said"),
    [
        (["a-2.yaml"], replace(SMALL, imgsz=96), "settings had imgsz 64, and now it is 96"),
        (["b-1.yaml", "a-2.yaml"], SMALL, "reference had model a-2.yaml, and now it is b-1.yaml"),
    ],
)
def test_figures_of_other_conditions_are_not_mixed(pretend, models, settings, said):
    pretend("a-2.yaml", "b-1.yaml", settings=SMALL)
    with pytest.raises(ValueError, match=rf"bench.json cannot be continued: its {said}; .* --out, .* --fresh"):
        pretend(*models, settings=settings)
    assert set(pretend(*models, settings=settings, fresh=True)[1]) == {*models}


def test_failures_alone_hold_to_no_conditions(pretend):
    assert pretend("broken.yaml", settings=SMALL)[1]["broken.yaml"].error == "broken"
    _, rows = pretend("a-2.yaml", settings=replace(SMALL, imgsz=96))
    assert rows["a-2.yaml"].rounds == 3


def test_a_spoilt_file_is_not_overwritten(pretend, tmp_path):
    (tmp_path / "bench.json").write_text("{")
    with pytest.raises(ValueError, match=r"bench.json cannot be continued"):
        pretend("a-2.yaml")
    assert (tmp_path / "bench.json").read_text() == "{"


# what is asked for wrongly


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"imgsz": 100}, "imgsz=100 is no multiple of 32, .* take 96"),
        ({"batch": 0}, "batch=0 is less than 1"),
        ({"repeats": 0}, "repeats=0 is less than 1"),
        ({"device": "cuda"}, "device='cuda' is neither cpu nor the number of one GPU"),
    ],
)
def test_settings_out_of_range(options, said):
    with pytest.raises(ValueError, match=said):
        Settings(**options)


@pytest.mark.parametrize(
    ("models", "backends", "device", "said"),
    [
        ([STOCK], ["tensorrt"], "cpu", "'tensorrt' is no backend; choose among torch, onnx, openvino"),
        (["yolov8n"], ["torch"], "cpu", "yolov8n is neither a model's config nor a checkpoint; name a .yaml or a .pt"),
        ([STOCK], ["openvino"], "0", "openvino runs on the CPU, not on device 0"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, models, backends, device, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        measure(models, backends, Settings(device=device), tmp_path)


@pytest.mark.parametrize("backend", [backend for backend, needed in BACKENDS.items() if needed])
def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch, backend):
    package = BACKENDS[backend][-1]
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name) or name)
    with pytest.raises(ImportError, match=f"{backend} needs {package}; pip install {package}"):
        measure([STOCK], [backend], SMALL, tmp_path)


# the plot


@pytest.mark.parametrize(
    ("points", "highest", "front"),
    [
        ([(1, 1), (2, 2), (3, 3)], True, [0, 1, 2]),
        ([(1, 1), (2, 2), (3, 3)], False, [0]),
        ([(3, 5), (1, 2), (2, 1), (2, 4)], True, [1, 3, 0]),
        ([(3, 5), (1, 2), (2, 1), (2, 4)], False, [1, 2]),
        ([(1, 2), (1, 3), (2, 3)], True, [1]),  # of two with one latency the better; no tie behind it
        ([], True, []),
    ],
)
def test_pareto_front(points, highest, front):
    assert plot.pareto_front(points, highest) == front
