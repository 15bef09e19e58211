"""What all tests share: an Ultralytics that touches nothing of the user's, data, and the command line."""

import atexit
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch
    from torch import nn

pytest_plugins = ["fast", "served"]

ROOT = Path(__file__).resolve().parent.parent

# Ultralytics reads all of this when it is imported, so it is set before any test module can do that. Workers of
# pytest-xdist and every command that a test starts inherit it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    # No letters at random: Ultralytics would take the "3m" of a folder's name for a model's scale.
    session = Path(tempfile.gettempdir()).resolve() / f"yolo-backbones-tests-{os.getpid()}-{time.time_ns()}"
    atexit.register(shutil.rmtree, session, ignore_errors=True)
    settings = session / "Ultralytics" / "settings.json"
    settings.parent.mkdir(parents=True)
    folders = {f"{name}_dir": str(session / name) for name in ("datasets", "weights", "runs")}
    # Ultralytics adds the rest. Where Ray is installed, its callback would import it in every training.
    settings.write_text(json.dumps({**folders, "sync": False, "raytune": False}))
    os.environ.update(YOLO_CONFIG_DIR=str(session), MPLBACKEND="Agg")
    os.environ["YOLO_AUTOINSTALL"] = "false"  # a test installs nothing
    if os.environ.get("YOLO_BACKBONES_DOWNLOAD") != "1":
        os.environ["YOLO_OFFLINE"] = "true"  # else Ultralytics waits for look-ups that may fail


def pytest_configure(config: pytest.Config) -> None:
    # Small models gain nothing from more threads, and several workers with all cores each slow each other down. Not in
    # the process that starts the workers: they would inherit all cores from it.
    if not config.getoption("numprocesses", None):
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(4, (os.cpu_count() or 1) // workers))))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exports", action="store_true", help="fail where the packages of an export format are missing")
    parser.addoption("--integrations", action="store_true", help="fail where the packages of a tool are missing")


RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


def run(
    command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 600
) -> "subprocess.CompletedProcess[str]":
    """Run a command in `cwd`, with `env` on top of the session's environment.

    Raises:
        AssertionError: it failed; the message holds everything it printed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise AssertionError(f"{shown}\nreturned {done.returncode} in {cwd}\n{done.stdout}\n{done.stderr}")
    return done


def script(name: str) -> ModuleType:
    """Return the module in `benchmarks/` of that name."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None, f"there is no benchmarks/{name}.py"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randomise_batch_norm(model: "nn.Module") -> None:
    """Fresh statistics are 0 and 1, with which a BatchNorm that was forgotten or folded wrongly would go unnoticed."""
    from torch import nn  # here, since most of the tests of installing do without

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def backbone_maps(model: "nn.Module", image: "torch.Tensor") -> list["torch.Tensor"]:
    """Return a detector's maps at P3, P4 and P5, as rows 4, 6 and 8 give them."""
    rows: list[torch.Tensor] = []
    for row in model.model[:10]:
        image = row(image if row.f == -1 else rows[row.f])
        rows.append(image)
    return [rows[4], rows[6], rows[8]]


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test register blocks of its own and forgets them afterwards."""
    from ultralytics.nn import tasks  # here, as above

    from yolo_backbones import environment, registry
    from yolo_backbones.seam import block_rows

    block_rows.load()
    known, names = dict(registry.blocks()), set(vars(tasks))
    monkeypatch.setenv(environment.BLOCKS, "")
    yield
    registry.blocks().clear()
    registry.blocks().update(known)
    for name in set(vars(tasks)) - names:
        delattr(tasks, name)


@pytest.fixture(scope="session")
def few_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `data.yaml` of eight drawn pictures to train on, and four to validate."""
    from yolo_backbones import shapes  # here, as above

    folder = tmp_path_factory.mktemp("few")
    shapes.draw(folder / "shapes", train=8, val=4, imgsz=64)
    names = list(shapes.CLASSES)
    file = folder / "data.yaml"
    file.write_text(f"path: {folder / 'shapes'}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    return file


@pytest.fixture(scope="session")
def run_cli(tmp_path_factory: pytest.TempPathFactory) -> RunCli:
    """Run `yolo ...`, `python ...` or another program of this environment, where nothing of the project lies.

    `run_cli(["yolo", "cfg"])` returns the completed process with its `stdout` and `stderr`, and raises with both when
    it failed. `cwd` is a fresh folder unless given; `env` comes on top of the session's environment.
    """
    programs = Path(sys.executable).parent

    def run_here(
        args: Sequence[str | Path],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> "subprocess.CompletedProcess[str]":
        program = sys.executable if args[0] == "python" else shutil.which(args[0], path=programs)
        assert program, f"no {args[0]} in {programs}"
        return run([program, *args[1:]], cwd or tmp_path_factory.mktemp("elsewhere"), env, timeout)

    started = run_here(["python", "-c", "import sys; print('yolo_backbones' in sys.modules)"])
    assert started.stdout.strip() == "True", "the package is not installed here: pip install -e '.[dev]'"
    return run_here


def shared() -> Path | None:
    """Return the folder that `YOLO_BACKBONES_SHARED` names: data sets in `data/`, reference outputs in `oracles/`."""
    folder = os.environ.get("YOLO_BACKBONES_SHARED")
    if not folder:
        return None
    assert Path(folder).is_dir(), f"YOLO_BACKBONES_SHARED={folder} is no folder"
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder that `YOLO_BACKBONES_SHARED` names; the test is skipped where it names none."""
    folder = shared()
    if folder is None:
        pytest.skip("YOLO_BACKBONES_SHARED names no folder")
    return folder


@pytest.fixture(scope="session")
def coco8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `data.yaml` of a tiny detection set that may be written to.

    COCO8 from `YOLO_BACKBONES_SHARED` or, with `YOLO_BACKBONES_DOWNLOAD=1`, as Ultralytics fetches it; otherwise as
    many drawn pictures.
    """
    folder = tmp_path_factory.mktemp("data") / "coco8"
    kept = shared()
    if kept is not None:
        # A copy, since Ultralytics writes label caches beside the labels; copyfile, since the files may be read-only.
        shutil.copytree(kept / "data" / "coco8", folder, copy_function=shutil.copyfile)
        for path in [folder, *filter(Path.is_dir, folder.rglob("*"))]:
            path.chmod(0o755)
        return folder / "data.yaml"
    if os.environ.get("YOLO_BACKBONES_DOWNLOAD") == "1":
        from ultralytics.data.utils import check_det_dataset

        try:
            return Path(check_det_dataset("coco8.yaml")["yaml_file"])
        except ConnectionError as error:
            warnings.warn(f"COCO8 could not be downloaded, drawn pictures are used: {error}", stacklevel=1)

    import yaml

    from yolo_backbones import shapes

    shapes.draw(folder, train=4, val=4)
    config = yaml.safe_load((ROOT / "cfg" / "datasets" / "shapes.yaml").read_text(encoding="utf-8"))
    del config["download"]
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump({**config, "path": str(folder)}))
    return data
