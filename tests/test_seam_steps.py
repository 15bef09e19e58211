"""The seam, step by step: one that cannot be taken says so in a sentence, and the others go on."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT

from yolo_backbones import configs
from yolo_backbones.families import families
from yolo_backbones.seam.steps import STEPS

# Run in a fresh Python in which the plugin has not been activated yet.
START = """
import os
os.environ["YOLO_BACKBONES_DISABLE"] = "1"
import torch
from ultralytics.nn import tasks
from ultralytics.utils import callbacks, checks, torch_utils
import ultralytics.utils
del os.environ["YOLO_BACKBONES_DISABLE"]
"""
BUILD = """
from yolo_backbones import seam
seam.activate()
import yaml
from yolo_backbones import configs

Detector = next(value for value in vars(tasks).values() if getattr(value, "__name__", "") == "DetectionModel")

def build(stem):
    config = yaml.safe_load(configs.models()[stem].read_text())
    return Detector({**config, "scale": "n", "yaml_file": f"{stem}.yaml"}, verbose=False)

image = torch.rand(1, 3, 64, 64)
for stem in configs.models():
    try:
        print("built", stem, tuple(build(stem).eval()(image)[0].shape))
    except ValueError as error:
        print("refused", stem, error)
stock = yaml.safe_load((ultralytics.utils.ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text())
print("stock", tuple(Detector({**stock, "scale": "n"}, verbose=False).eval()(image)[0].shape))
print("failures", list(seam.failures()))
"""


def run(code: str, cwd: Path, after: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code) + BUILD + after],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(cwd)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What takes away a step's need, by the step's name; where Ultralytics itself needs it, it stays under another name.
REMOVALS = {
    "blocks in rows": """
        import types
        tasks.another_name = tasks.parse_model
        for name, value in list(vars(tasks).items()):
            if isinstance(value, types.FunctionType) and "parse_model" in value.__code__.co_names:
                code = value.__code__
                value.__code__ = code.replace(
                    co_names=tuple("another_name" if n == "parse_model" else n for n in code.co_names)
                )
        for cls in [value for value in vars(tasks).values() if isinstance(value, type)]:
            for value in vars(cls).values():
                if isinstance(value, types.FunctionType) and "parse_model" in value.__code__.co_names:
                    code = value.__code__
                    value.__code__ = code.replace(
                        co_names=tuple("another_name" if n == "parse_model" else n for n in code.co_names)
                    )
        del tasks.parse_model
    """,
    "rows in errors": "tasks.AnotherName = tasks.DetectionModel; del tasks.DetectionModel",
    "models' names": "del tasks.guess_model_scale",
    "data sets' names": "del checks.check_file",
    "merging": "del tasks.BaseModel.is_fused",
    "checkpoints": "del tasks.torch_safe_load",
    "published networks' settings": "del torch_utils.initialize_weights",
    "training hooks": "del callbacks.default_callbacks",
    "blocks of the user's own": "os.environ['YOLO_BACKBONES_BLOCKS'] = 'nowhere.py'",
    "LightlyTrain": """
        import sys, types
        class Frozen(types.ModuleType):
            def __setattr__(self, name, value):
                raise AttributeError(f"{name} cannot be set")
        sys.modules["lightly_train._models.ultralytics.ultralytics"] = Frozen("adapter")
        vars(sys.modules["lightly_train._models.ultralytics.ultralytics"])["_get_backbone"] = lambda model: None
    """,
    "Torch-Pruning": "import sys, types; sys.modules['torch_pruning'] = types.ModuleType('without DependencyGraph')",
}


def test_every_step_is_taken_away_once():
    assert {step.name for step in STEPS} == REMOVALS.keys()
    assert all(step.lost and "\n" not in step.lost for step in STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_without_what_one_step_needs_the_models_still_build(step, tmp_path):
    out = run(REMOVALS[step.name], tmp_path)
    assert out.count("built yolov8-") == len(configs.models())
    assert "stock (" in out
    if step.name == "blocks in rows":  # it has another way
        assert "failures []" in out
        return
    assert f"failures [{step.name!r}]" in out
    (told,) = (line for line in out.splitlines() if "yolo_backbones: " in line)
    assert step.lost in told


def test_a_package_that_lacks_what_its_step_needs_is_imported_all_the_same(tmp_path):
    (tmp_path / "torch_pruning.py").write_text("found = 'imported'\n")
    out = run("", tmp_path, "import torch_pruning; print(torch_pruning.found, list(seam.failures()))")
    assert "imported ['Torch-Pruning']" in out
    (told,) = (line for line in out.splitlines() if "yolo_backbones: " in line)
    assert "DependencyGraph" in told and "cannot follow the channels" in told


def test_the_others_go_on_where_several_fail(tmp_path):
    out = run(
        "\n".join(["del tasks.torch_safe_load", "del checks.check_file", "del tasks.BaseModel.is_fused"]), tmp_path
    )
    assert "failures [\"data sets' names\", 'merging', 'checkpoints']" in out
    assert out.count("built yolov8-") == len(configs.models())


@pytest.mark.parametrize("family", families().values(), ids=families())
def test_a_class_of_a_forks_own_costs_the_one_block(family, tmp_path):
    """A fork has put a class called as one of our blocks into Ultralytics' namespace."""
    used = {row[2] for row in config(family.name)["backbone"] if row[2] not in {"Conv", "SPPF", "nn.Identity"}}
    block = sorted(used)[0]
    out = run(f"tasks.{block} = type({block!r}, (torch.nn.Module,), {{'__module__': 'fork.nn'}})", tmp_path)
    affected = [
        stem for stem in configs.models() if configs.models()[stem] == configs.models()[f"yolov8-{family.name}"]
    ]
    for stem in configs.models():
        assert f"{'refused' if stem in affected else 'built'} {stem} " in out
    assert f"needs the block {block}, and this Ultralytics has one of its own under that name (fork.nn)" in out
    assert "failures []" in out
    (told,) = (line for line in out.splitlines() if "yolo_backbones: " in line)
    assert f"this Ultralytics has a {block} of its own (fork.nn)" in told


def config(family: str) -> dict:
    import yaml

    return yaml.safe_load(configs.models()[f"yolov8-{family}"].read_text())
