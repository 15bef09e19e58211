"""What `pip install` and `pip uninstall` do, for the wheel and for the editable install, each in a fresh environment.

Ultralytics and torch are not installed again: the environment that runs the tests lends its own, by a path file.
"""

import csv
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, run

# One worker for all of them: they share environments, and the last test of each takes the package away.
pytestmark = pytest.mark.xdist_group("install")

START_UP_FILES = {"yolo_backbones.pth", "yolo_backbones.start"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

# The `yolo` command without its console script, which a borrowed Ultralytics does not have.
YOLO = "import sys; from ultralytics.cfg import entrypoint; sys.argv[0] = 'yolo'; entrypoint()"

BUILD = "from ultralytics import YOLO; print('built', len(YOLO('yolov8n-starnet.yaml').model.model))"


@dataclass
class Environment:
    """A virtual environment with the package installed, and a folder where nothing of the project lies."""

    folder: Path
    elsewhere: Path
    before: set[str]

    @property
    def interpreter(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def site_packages(self) -> Path:
        return next(self.folder.rglob("site-packages"))

    def listing(self) -> set[str]:
        return {path.name for path in self.site_packages.iterdir()}

    def python(self, *args: str, **env: str) -> str:
        return run([self.interpreter, *args], self.elsewhere, env).stdout

    def pip(self, *args: str) -> str:
        return run([*PIP, "--python", str(self.interpreter), *args], self.elsewhere).stdout

    def record(self) -> set[str]:
        """The files that pip noted as installed, and will remove."""
        (file,) = self.site_packages.glob("yolo_backbones-*.dist-info/RECORD")
        return {row[0] for row in csv.reader(file.read_text().splitlines())}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module", params=["wheel", "editable"])
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp(request.param)
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    made = Environment(folder / "venv", folder / "elsewhere", set())
    made.elsewhere.mkdir()
    borrowed = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (made.site_packages / "zz_borrowed.pth").write_text("\n".join(borrowed))
    made.before = made.listing()
    what = ["-e", str(ROOT)] if request.param == "editable" else [str(wheel)]
    # --ignore-installed: the package may be installed in the environment that lends its own, too.
    made.pip("install", "--no-deps", "--no-build-isolation", "--ignore-installed", *what)
    return made


def test_what_is_installed(environment: Environment, request: pytest.FixtureRequest) -> None:
    added = {name for name in environment.listing() - environment.before if not name.endswith(".dist-info")}
    if request.node.callspec.params["environment"] == "wheel":
        assert added == START_UP_FILES | {"yolo_backbones"}
        shipped = environment.site_packages / "yolo_backbones" / "cfg"
    else:
        assert added == START_UP_FILES | {"_yolo_backbones.pth"}
        shipped = ROOT / "cfg"
    assert environment.record() >= START_UP_FILES
    found = environment.python("-c", "from yolo_backbones import configs; print(configs.CFG)")
    assert Path(found.strip()) == shipped
    assert (shipped / "datasets" / "shapes.yaml").is_file()


def test_start_of_python_stays_cheap(environment: Environment) -> None:
    modules = set(environment.python("-c", "import sys; print(*sys.modules)").split())
    assert {name for name in modules if name.startswith("yolo_b")} == {"yolo_backbones"}
    assert not modules & {"torch", "timm", "ultralytics", "numpy", "yaml", "typing", "importlib.abc", "importlib.util"}


def test_yolo_command_trains_our_model(environment: Environment, coco8: Path) -> None:
    options = ["epochs=1", "imgsz=32", "batch=2", "workers=0", "plots=False", "device=cpu", f"project={coco8.parent}"]
    out = environment.python("-c", YOLO, "train", "model=yolov8n-starnet.yaml", f"data={coco8}", *options)
    assert "yolo_backbones.families.starnet.StarStage" in out
    assert "1 epochs completed" in out


def test_builds_a_model_without_an_import_of_ours(environment: Environment) -> None:
    """Also what the workers of multi-GPU training, tuning and Ray do: processes that never see the user's script."""
    assert "built" in environment.python("-c", BUILD)


def test_the_command_comes_along_with_its_table(environment: Environment) -> None:
    (program,) = environment.interpreter.parent.glob("yolo-backbones*")
    listed = run([program, "list", "starnet_s?", "--json"], environment.elsewhere).stdout
    assert [entry["name"] for entry in json.loads(listed)] == ["starnet_s1", "starnet_s2", "starnet_s3", "starnet_s4"]


def test_switched_off(environment: Environment) -> None:
    code = "import sys, ultralytics.nn.tasks; print('yolo_backbones.seam' in sys.modules)"
    assert environment.python("-c", code, YOLO_BACKBONES_DISABLE="1").split()[-1] == "False"


def test_uninstalled_without_a_trace(environment: Environment) -> None:
    """The last test of each environment, since it takes the package away."""
    environment.pip("uninstall", "--yes", "yolo-backbones")
    assert environment.listing() == environment.before
    assert environment.python("-c", "import sys; print('yolo_backbones' in sys.modules)").strip() == "False"


def test_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", tmp_path, ROOT], tmp_path)
    (sdist,) = tmp_path.glob("*.tar.gz")
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, sdist], tmp_path)
    (again,) = tmp_path.glob("*.whl")
    names = [set(zipfile.ZipFile(file).namelist()) for file in (wheel, again)]
    assert names[0] == names[1]
    assert {
        "yolo_backbones/py.typed",
        "yolo_backbones/catalogue.csv",
        "yolo_backbones/cfg/datasets/shapes.yaml",
        *START_UP_FILES,
    } <= names[0]
