"""The yolo-backbones command, as a user meets it."""

import inspect
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from ultralytics import cfg as ultralytics_cfg
from ultralytics.nn import tasks
from ultralytics.utils import ROOT as ULTRALYTICS

import yolo_backbones
from yolo_backbones import catalogue, cli, detectors, doctor, write_yaml
from yolo_backbones.cli import yaml_file
from yolo_backbones.composition import compose, levels, resolve
from yolo_backbones.doctor import checks, probe
from yolo_backbones.names import split_tag, taken_for_sam

PACKAGE = Path(yolo_backbones.__file__).parent
COMMAND = ["python", "-m", "yolo_backbones.cli"]
ENTRIES = catalogue.entries()


@pytest.fixture
def call(capsys):
    """Runs the command in this process, which has imported torch already: returns exit code, stdout, stderr."""

    def run(*args):
        with pytest.raises(SystemExit) as end:
            cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def complaint(result, code=1):
    """The one line on stderr with which a failed command ends."""
    assert result[0] == code and result[1] == ""
    assert result[2].startswith("yolo-backbones: ") and result[2].count("\n") == 1
    return result[2].removeprefix("yolo-backbones: ").strip()


def names(table):
    return [line.split()[0] for line in table.splitlines()[1:]]


# list


def test_list_imports_neither_torch_nor_timm(run_cli):
    code = """
import sys
from yolo_backbones import cli
try:
    cli.main(["list"])
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = run_cli(["python", "-c", code])
    assert names(done.stdout) == list(ENTRIES)
    assert not {"torch", "timm", "ultralytics", "yaml", "numpy"} & {*done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_no_name_is_cut_off_and_no_line_too_long(call, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, err = call("list")
    assert names(out) == list(ENTRIES)
    assert max(map(len, out.splitlines())) <= columns
    if columns == 80:
        assert {"params", "GFLOPs"} <= {*out.splitlines()[0].split()}
        assert "not shown for want of room" in err and "channels" in err


def test_a_narrow_window_still_gets_whole_names(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert names(call("list")[1]) == list(ENTRIES)


def test_a_pipe_gets_all_columns(run_cli):
    done = run_cli([*COMMAND, "list", "*starnet*"], env={"COLUMNS": ""})
    assert done.stdout.splitlines()[0].split() == [
        "name",
        "params",
        "GFLOPs",
        "top-1",
        "weights",
        "strides",
        "channels",
    ]
    line = next(line for line in done.stdout.splitlines() if line.startswith("starnet_s1 "))
    assert " ".join(line.split()[3:]) == "73.6 in1k 4 8 16 32 24 48 96 192"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["starnet_s"], [f"starnet_s{size}" for size in ("1", "2", "3", "4", "050", "100", "150")]),
        (["StarNet_S?"], ["starnet_s1", "starnet_s2", "starnet_s3", "starnet_s4"]),
        (["starnet_s*.in1k"], ["starnet_s1", "starnet_s2", "starnet_s3", "starnet_s4"]),
        (["starnet", "--pretrained", "--max-params", "5M"], ["starnet_s1", "starnet_s2"]),
        (["starnet_s?", "--max-params", "3_700_000"], ["starnet_s1", "starnet_s2"]),
        (["starnet", "--max-params", "600k"], ["starnet_s050"]),
        (["resnet18", "--source", "own"], ["skresnet18"]),
        (["skresn*", "--source", "timm"], ["skresnet50d"]),
        (["nothing_like_it"], []),
    ],
)
def test_list_what_is_asked_for(call, args, expected):
    code, out, _ = call("list", *args, "--json")
    assert code == 0
    assert sorted(entry["name"] for entry in json.loads(out)) == sorted(expected)


def test_list_as_json_says_all_that_the_table_says(call):
    entries = json.loads(call("list", "--json")[1])
    assert [entry["name"] for entry in entries] == list(ENTRIES)
    s1 = next(entry for entry in entries if entry["name"] == "starnet_s1")
    assert s1["strides"] == [4, 8, 16, 32] and s1["channels"] == [24, 48, 96, 192]
    assert s1["top1"] == 73.6 and s1["tags"] == ["in1k"] and s1["url"] == "https://arxiv.org/abs/2403.19967"
    assert s1["parameters"] == ENTRIES["starnet_s1"].parameters


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["list", "starnt_s1"], 1, "no backbone matches 'starnt_s1'; did you mean starnet_s1"),
        (["list", "starnet", "--max-params", "1k"], 1, "the options leave none of the 8 backbones that match"),
        (["list", "--max-params", "ten"], 2, "'ten' is no number of parameters; write it as 10M or 10000000"),
        (["list", "--max-parms", "1"], 2, "No such option"),
        (["lst"], 2, "No such command"),
        (["info"], 2, "Missing argument"),
        (["info", "resnt18"], 1, "no backbone is called resnt18; did you mean resnet18"),
        (["info", "starnet_s1.in22k"], 1, "has no published weights with the tag in22k; choose starnet_s1.in1k"),
        (["info", ""], 1, "no backbone is called ''; "),
        (["list", "--source", "hub"], 2, "Invalid value for '--source': 'hub' is not one of 'own', 'timm'; see"),
        (["new", "yolov8n", "starnet", "-o", "nowhere/a.yaml"], 1, "there is no folder nowhere; make it first"),
        (["new", "yolov8n", "starnet", "-o", "."], 1, ". is a folder; name a file in it"),
        (["new", "yolov8n", "starnet", "-o", "a.txt"], 1, "a.txt would not be read as a model's YAML; give it a name"),
        (
            ["new", "yolov8n", "starnet", "-o", "my-sam_b.yaml"],
            1,
            "Segment Anything; choose another name, such as",
        ),
        (["new", "yolov8n", "starnet", "-o", "a" * 300 + ".yaml"], 1, "cannot be written: File name too long; choose"),
        (["new", "yolov8n", "resnt18", "-o", "-"], 1, "no backbone is called resnt18; did you mean resnet18"),
        (["new", "yolov88n", "starnet", "-o", "-"], 1, "yolov88"),
        (["new", "yolov8n", "starnet_s1", "--weights", "nowhere.pt", "-o", "-"], 1, "nowhere.pt"),
    ],
)
def test_errors_are_one_line(call, args, code, message):
    assert message in complaint(call(*args), code)


def test_errors_reach_the_shell(run_cli):
    with pytest.raises(
        AssertionError, match=r"returned 1 in .*\n\nyolo-backbones: no backbone is called resnt18; .*\n\Z"
    ):
        run_cli([*COMMAND, "info", "resnt18"])


def test_a_reader_that_leaves_early_is_no_error_worth_a_word(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "yolo_backbones.cli", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""


def test_version_and_help(call):
    assert call("--version") == (0, f"yolo-backbones {yolo_backbones.__version__}\n", "")
    for args in ([], ["--help"], ["list", "-h"], ["info", "-h"], ["new", "-h"], ["doctor", "-h"]):
        code, out, _ = call(*args)
        assert code == 0 and "Usage: yolo-backbones" in out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("info starnet_s1", {"starnet_s1", "starnet_s100", "starnet_s150"}),
        ("info starnet_s1.", {"starnet_s1.in1k"}),
        ("new yolo11s-s", {"yolo11s-seg"}),
        ("new yolov8n starnet_s1.i", {"starnet_s1.in1k"}),
    ],
)
def test_shell_completion(run_cli, typed, expected):
    environment = {
        "_YOLO_BACKBONES_COMPLETE": "complete_bash",
        "COMP_WORDS": f"yolo-backbones {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    assert expected <= {*run_cli(COMMAND, env=environment).stdout.split()}


# info


@pytest.mark.parametrize(
    "name", ["starnet", "sknet", "starnet_s1", "starnet_s1.in1k", "vanillanet_6", "resnet18.a1_in1k"]
)
def test_info(call, name):
    entry = catalogue.find(name)
    code, out, _ = call("info", name)
    assert code == 0
    assert entry.url in out
    for tag in entry.tags:
        assert f"{entry.name}.{tag}" in out
    if entry.source == "family":
        assert f"yolov8n-{name}  " in out and "M parameters" in out
    else:
        assert f"{entry.parameters / 1e6:.2f}M" in out and f"{entry.gflops:g} at 640 px" in out
        assert re.search(rf"strides +{' '.join(map(str, entry.strides))} *\n", out)
        assert re.search(rf"channels +{' '.join(map(str, entry.channels))} *\n", out)
        assert "(default" in out and entry.licence in out
    if entry.top1 is not None:
        assert f"{entry.top1:g} %" in out
    about = json.loads(call("info", name, "--json")[1])
    assert about["name"] == entry.name and about["tag"] == (split_tag(name)[1] or None)
    assert all(command in out for command in about["commands"])
    models = [command.split("model=")[1].split()[0] for command in about["commands"] if "model=" in command]
    assert len(models) >= 2
    for model in models:
        assert resolve(Path(model)) is not None, model  # so the command, once copied, finds a model


def test_info_of_every_backbone(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    last = {}
    for entry in ENTRIES.values():  # one of each combination of what is told
        last[
            entry.source, entry.pyramid, bool(entry.imgsz), bool(entry.reason), bool(entry.tags), bool(entry.paper)
        ] = entry
    for entry in last.values():
        code, out, _ = call("info", entry.name)
        assert code == 0
        assert ("feature pyramid" in out) == entry.pyramid
        assert (f"{entry.imgsz} px inside" in out) == bool(entry.imgsz)
        assert ("yolo train" in out) == (not entry.reason or entry.classifies_only)


def test_info_of_what_classifies_only(call):
    name = "vanillanet_13_x1_5_ada_pool"
    _, out, _ = call("info", name)
    assert re.search(r"^only with -cls +pools every image to one size", out, re.MULTILINE)
    assert "not usable" not in out and "unknown" not in out and "strides 8, 16, 32" not in out
    models = re.findall(r"model=(\S+)", out)
    assert len(models) == 2 and all(resolve(Path(model)) is not None for model in models)
    line = next(line for line in call("list", name)[1].splitlines() if line.startswith(name))
    assert line.split()[5:] == ["for", "-cls", "alone"]


def test_info_says_that_vanillanets_figures_are_those_of_training(call):
    assert call("info", "vanillanet_6")[1].count(", before fuse() merges its layers") == 2
    assert "fuse()" not in call("info", "starnet_s1")[1]


def test_info_has_the_licence_of_the_weights_asked_for(call):
    from timm.models import get_pretrained_cfg

    name, tag = "regnetx_008", "pycls_in1k"
    other = get_pretrained_cfg(f"{name}.{tag}").license
    assert other != ENTRIES[name].licence
    assert f"licence {ENTRIES[name].licence}, of the default weights;" in " ".join(call("info", name)[1].split())
    assert f"licence {other}, of the weights" in " ".join(call("info", f"{name}.{tag}")[1].split())
    assert json.loads(call("info", f"{name}.{tag}", "--json")[1])["licence"] == other


def test_one_backbone_is_no_plural(call):
    assert "1 backbone;" in call("list", "starnet_s1.in1k")[2]
    assert "7 backbones;" in call("list", "starnet_s")[2]


# Names that the yolo command takes for Segment Anything.


def test_yolos_marks_of_segment_anything_are_known():
    marks = re.findall(r'"(sam[\w.]*_)"', inspect.getsource(ultralytics_cfg))
    assert "sam_" in marks and all(taken_for_sam(f"yolov8n-{mark}x") for mark in marks)
    assert not taken_for_sam("yolov8n-samvit_base_patch16")


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "vit_base_patch16_224.sam_in1k"])
def test_a_name_for_segment_anything_gets_a_file_of_another(call, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    made, used = json.loads(call("info", name, "--json")[1])["commands"]
    assert call(*shlex.split(made, comments=True)[1:])[0] == 0
    (file,) = tmp_path.iterdir()
    assert f"model={file.name} " in used and not taken_for_sam(file.stem)
    assert tasks.yaml_model_load(file.name)["backbone"][0][2] == "Network"


# new


@pytest.mark.parametrize(
    ("base", "backbone"),
    [("yolov8n", "starnet"), ("yolo11s-seg", "starnet_s1"), ("rtdetr-l", "fasternet"), ("yolov8n-p2", "skresnet18")],
)
def test_new_writes_what_compose_composes(call, tmp_path, monkeypatch, base, backbone):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("new", base, backbone)
    assert code == 0
    config = compose(base, backbone)
    (file,) = tmp_path.iterdir()
    assert file.name == config["yaml_file"]
    assert out.startswith(f"yolo train model={file.name} data=")
    assert yaml.safe_load(file.read_text()) == {k: v for k, v in config.items() if k not in {"scale", "yaml_file"}}
    assert next(iter(yaml.safe_load(file.read_text())["scales"])) == (config["scale"] or "l")
    read = tasks.yaml_model_load(file.name)  # as YOLO() does
    assert read["scale"] == config["scale"]
    assert tasks.parse_model(read, 3, verbose=False)[1] == tasks.parse_model(config, 3, verbose=False)[1]


def test_new_prints_yaml_and_nothing_else(run_cli, tmp_path):
    fresh = {"YOLO_CONFIG_DIR": str(tmp_path)}  # where Ultralytics has something to say: on stdout
    done = run_cli([*COMMAND, "new", "yolo11n-pose", "starnet_s1", "-o", "-"], env=fresh)
    assert done.stdout.startswith("# yolo11n-pose with backbone starnet_s1. ")
    assert "\n# yolo train model=yolo11n-starnet_s1-pose.yaml data=coco8-pose.yaml\n" in done.stdout
    assert yaml.safe_load(done.stdout)["kpt_shape"] == [17, 3]


def test_every_head_gets_a_data_set_of_its_task():
    for base in detectors.configs().values():
        head = yaml.safe_load(base.read_text())["head"][-1][2]
        data = yaml_file._data(head)
        if head == "Classify":
            assert data == "mnist160"
            continue
        assert (ULTRALYTICS / "cfg" / "datasets" / data).is_file(), head
        marks = {"-sem": "cityscapes8", "-seg": "coco8-seg", "-pose": "coco8-pose", "-obb": "dota8", "-depth": "depth8"}
        wanted = next((name for mark, name in marks.items() if mark in base.stem), "coco8")
        assert data == f"{wanted}.yaml", base.stem


def test_new_overwrites_nothing_unless_forced(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, option in (("yolov8n-starnet.yaml", []), ("mine.yaml", ["-o", "mine.yaml"])):
        Path(file).write_text("precious")
        assert f"{file} exists already" in complaint(call("new", "yolov8n", "starnet", *option))
        assert Path(file).read_text() == "precious"
        assert call("new", "yolov8n", "starnet", *option, "--force")[0] == 0
        assert "StarStage" in Path(file).read_text()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("yolo11s-mine.yaml", "Scale s, by the letter"),
        ("mine.yaml", "Scale s: the first of scales"),
    ],
)
def test_new_says_which_scale_the_file_has(call, tmp_path, monkeypatch, file, said):
    monkeypatch.chdir(tmp_path)
    _, out, _ = call("new", "yolo11s", "starnet", "-o", file)
    assert said in out and said in Path(file).read_text()
    config = tasks.yaml_model_load(file)
    assert (config["scale"] or next(iter(config["scales"]))) == "s"


def test_new_refuses_a_name_with_a_scale_that_is_not_there(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = complaint(call("new", "rtdetr-l", "starnet", "-o", "yolov8n-mine.yaml"))
    assert "asks for scale n, which is not among l;" in said
    said = complaint(call("new", "yolo11s", "starnet", "-o", "yolo11m-mine.yaml"))
    assert "asks for scale m, which is not among s;" in said
    assert not list(tmp_path.iterdir())


def test_rows_are_numbered_and_have_their_level(call):
    config = compose("yolo11s", "starnet_s1")
    text = write_yaml.dumps(config, "A comment\nof two lines", levels(config))
    assert text.startswith("# A comment\n# of two lines\n\nnc: 80 # number of classes\nscales: # [depth")
    lines = [line for line in text.splitlines() if line.startswith("  - ")]
    rows = [*config["backbone"], *config["head"]]
    assert [yaml.safe_load(line)[0] for line in lines] == rows
    assert [line.split(" # ")[1] for line in lines[: len(config["backbone"])]] == [
        *("0", "1", "2", "3", "4-P3/8", "5", "6-P4/16", "7", "8-P5/32", "9-P5/32", "10-P5/32")
    ]
    numbered = {i for i, line in enumerate(lines) if re.search(rf" # {i}(?!\d)", line)}
    assert numbered == {*range(11), 13, 16, 19, 22}  # the head's: those that other rows refer to
    assert lines[12].endswith(" # cat backbone P4") and lines[18].endswith(" # cat row 13")


def test_every_config_of_ultralytics_survives_being_written():
    files = sorted((ULTRALYTICS / "cfg" / "models").rglob("*.yaml"))
    assert len(files) > 30
    for file in files:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        text = write_yaml.dumps({**config, "scale": "n", "yaml_file": file.name})
        assert yaml.safe_load(text) == config, file.name


def test_a_row_is_written_out_and_never_referred_to():
    shared = [1, 2]
    row = [-1, 1, "Network", [shared, {"a": shared, "b": None, "c": "no", "d": "None", "e": 1e-6, "f": "x: # y"}]]
    text = write_yaml.dumps({"nc": 1, "backbone": [row], "head": [row]}, levels=[14])
    assert "&" not in text and " # 0, stride 14\n" in text
    assert yaml.safe_load(text) == {"nc": 1, "backbone": [row], "head": [row]}


# doctor


def found(result):
    """What `doctor --json` found, by name."""
    about = json.loads(result[1])
    assert about["ok"] == (result[0] == 0) == all(check["ok"] for check in about["checks"])
    assert all(check["ok"] != bool(check["advice"]) for check in about["checks"])
    return {check["name"]: check for check in about["checks"]}


def wrong(checks):
    return {name for name, check in checks.items() if not check["ok"]}


@pytest.fixture
def here(monkeypatch):
    """This environment's programs first on PATH, as in an activated one."""
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    return programs


def run_doctor(python, *options, **env):
    done = subprocess.run(
        [python, *options, "-m", "yolo_backbones.cli", "doctor", "--json"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in {0, 1} and "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_doctor_finds_that_all_is_right(here):
    result = run_doctor(sys.executable, ULTRALYTICS_SAFE_LOAD="1")
    checks = found(result)
    assert not wrong(checks)
    assert checks["this Python"]["value"] == checks["fresh Python"]["value"] == "active"
    assert checks["yolo command"]["value"] == f"active, {shutil.which('yolo')}"
    assert checks["restricted loading (ULTRALYTICS_SAFE_LOAD)"]["value"].startswith("on, and accepts")
    assert checks["timm"]["value"]
    assert "yolo_backbones.pth" in checks["start-up files"]["value"]


def test_doctor_finds_the_switch(here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    checks = found(run_doctor(sys.executable, YOLO_BACKBONES_DISABLE="1", YOLO_BACKBONES_BLOCKS="nowhere"))
    assert wrong(checks) == {"YOLO_BACKBONES_DISABLE", "this Python", "fresh Python", "yolo command"}
    assert {checks[name]["advice"] for name in wrong(checks)} == {"unset YOLO_BACKBONES_DISABLE"}
    assert "not imported" in checks["YOLO_BACKBONES_BLOCKS"]["value"]


@pytest.fixture
def elsewhere(tmp_path):
    """The Python of an environment that has nothing installed."""
    folder = tmp_path / "other"
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    (python,) = folder.glob("*/python.exe" if os.name == "nt" else "bin/python")
    return python


@pytest.mark.skipif(os.name == "nt", reason="a script with #! is no program there")
@pytest.mark.parametrize("wrapped", [False, True])
def test_doctor_finds_a_yolo_of_another_environment(call, elsewhere, tmp_path, monkeypatch, wrapped):
    script = tmp_path / "bin" / "yolo"
    script.parent.mkdir()
    text = f'#!/bin/sh\nexec "{elsewhere}" -c "" "$@"\n' if wrapped else f"#!{elsewhere}\n"
    script.write_text(text)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(script.parent), os.environ["PATH"]]))
    monkeypatch.setenv("YOLO_BACKBONES_BLOCKS", "nowhere_at_all")
    checks = found(call("doctor", "--json"))
    assert wrong(checks) == {"yolo command", "YOLO_BACKBONES_BLOCKS"}
    assert f"{script} runs another environment's {elsewhere}" in checks["yolo command"]["value"]
    assert f"{elsewhere} -m pip install yolo-backbones" in checks["yolo command"]["advice"]
    assert "No module named 'nowhere_at_all'" in checks["YOLO_BACKBONES_BLOCKS"]["advice"]


def test_doctor_finds_an_environment_without_start_up_files(elsewhere, tmp_path):
    """Packages on PYTHONPATH, or installed with `pip --target`, can be imported; their start-up files are not read."""
    folders = [*sys.path[1:], str(PACKAGE.parent)]
    checks = found(run_doctor(str(elsewhere), PYTHONPATH=os.pathsep.join(folders), PATH=str(elsewhere.parent)))
    assert wrong(checks) == {"start-up files", "fresh Python", "yolo command"}
    assert "pip install" in checks["start-up files"]["advice"]
    assert checks["yolo command"]["value"] == "not on PATH"
    # Since this command has imported the package; no other process will have.
    assert checks["this Python"]["value"] == "active"


def test_doctor_finds_a_python_that_reads_no_start_up_files(tmp_path):
    folders = [*sys.path[1:], str(PACKAGE.parent)]
    checks = found(run_doctor(sys.executable, "-S", PYTHONPATH=os.pathsep.join(folders), PATH=str(tmp_path)))
    assert wrong(checks) == {"Python", "yolo command"}
    assert "first on PATH" in checks["yolo command"]["advice"]
    assert "-S" in checks["Python"]["advice"]
    assert checks["this Python"]["value"] == "active, since yolo_backbones was imported"


def test_doctor_finds_packages_that_are_missing_or_too_old(monkeypatch):
    versions = {"timm": "0.9.16", "ultralytics": "8.4.190", "torch": "2.15.0+cu130"}

    def version(name):
        if name not in versions:
            raise checks.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(checks.metadata, "version", version)
    assert checks.package("ultralytics").ok and checks.package("torch").ok
    assert checks.package("torchvision").value == "not installed"
    assert "pip install torchvision" in checks.package("torchvision").advice
    assert "1.0.31 or later is needed" in checks.package("timm").advice


def test_doctor_tells_what_the_plugin_said_when_it_failed(call, monkeypatch):
    said = "yolo_backbones: its models are not available, since the plugin failed to start with ValueError: bad row"
    answer = probe.Answer({"active": False}, probe.told(f"other news\n{said}\n"))
    start_up = doctor.Check("start-up files", "there")
    monkeypatch.setattr(doctor, "examine", lambda: [start_up, checks.activity("this Python", answer, start_up)])
    code, out, _ = call("doctor")
    assert code == 1
    assert re.search(r"ok +start-up files +there", out) and re.search(r"NOT +this Python +not active", out)
    assert "\n- its models are not available, since the plugin failed to start with ValueError: bad row\n" in out


@pytest.mark.parametrize(("value", "ok"), [("1", False), ("maybe", False), ("0", True), ("", True)])
def test_doctor_finds_restricted_loading_that_has_no_effect(monkeypatch, value, ok):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", value)
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    assert checks.restricted(tasks).ok == ok
    if not ok:
        assert "no effect" in checks.restricted(tasks).value
