"""The start-up hook, against a fake Ultralytics and a fake plugin: each case is a process of its own, and takes 30 ms.

That the real ones meet is tested in test_install.py.
"""

import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import yolo_backbones

PACKAGE = Path(yolo_backbones.__file__).parent

TASKS = """
activated = 0
import fault  # raises where a test wants the import to fail half way
ready = True
"""

PLUGIN = """
from ultralytics.nn import tasks
import misfit  # raises where a test wants the activation to fail

def activate():
    assert tasks.ready
    misfit.check()
    tasks.activated += 1
"""

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a fake Ultralytics, and with this package around a fake plugin."""
    files = {
        "ultralytics/__init__.py": "from ultralytics.nn import tasks",
        "ultralytics/nn/__init__.py": "from .tasks import ready",
        "ultralytics/nn/tasks.py": TASKS,
        "yolo_backbones/seam.py": PLUGIN,
        "fault.py": "",
        "misfit.py": "def check(): pass",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("__init__.py", "_autoload.py", "environment.py", "import_hooks.py"):
        shutil.copy(PACKAGE / name, tmp_path / "yolo_backbones")
    return tmp_path


@pytest.fixture
def python(site: Path) -> Python:
    """Runs code in a Python that knows nothing but the standard library and `site`."""

    def run(code: str, *options: str, path: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        elsewhere = site / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        # -S: the environment that runs the tests has start-up files of its own.
        done = subprocess.run(
            [sys.executable, "-S", *options, "-c", code],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": path or str(site), **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_activates_once_ultralytics_has_run(python: Python) -> None:
    done = python("import yolo_backbones, ultralytics; assert ultralytics.nn.tasks.activated == 1")
    assert done.stderr == ""


def test_activates_at_once_if_ultralytics_has_run_already(python: Python) -> None:
    python("import ultralytics, yolo_backbones; assert ultralytics.nn.tasks.activated == 1")


def test_imports_nothing_that_python_has_not_loaded(python: Python) -> None:
    code = "import os, sys; before = set(sys.modules); import yolo_backbones; print(*sorted({*sys.modules} - before))"
    assert python(code).stdout.split() == ["yolo_backbones"]


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_disabled(python: Python, value: str) -> None:
    code = """
import sys, yolo_backbones, ultralytics
assert ultralytics.nn.tasks.activated == 0
assert "yolo_backbones.seam" not in sys.modules
assert sys.meta_path[0].find_spec("ultralytics.nn.tasks", ultralytics.nn.__path__) is None
"""
    python(code, YOLO_BACKBONES_DISABLE=value)
    python(code.replace("yolo_backbones, ultralytics", "ultralytics, yolo_backbones"), YOLO_BACKBONES_DISABLE=value)


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_not_disabled(python: Python, value: str) -> None:
    code = "import yolo_backbones, ultralytics; assert ultralytics.nn.tasks.activated == 1"
    python(code, YOLO_BACKBONES_DISABLE=value)


def test_disabled_by_the_script_itself(python: Python) -> None:
    python("""
import os, yolo_backbones
os.environ["YOLO_BACKBONES_DISABLE"] = "1"
import ultralytics
assert ultralytics.nn.tasks.activated == 0
""")


def test_without_ultralytics(python: Python, site: Path) -> None:
    shutil.rmtree(site / "ultralytics")
    done = python("""
import importlib.util, yolo_backbones
assert importlib.util.find_spec("ultralytics") is None
try:
    import ultralytics.nn.tasks
except ModuleNotFoundError as error:
    assert error.name == "ultralytics", error
else:
    raise SystemExit("imported what is not there")
""")
    assert done.stderr == ""


def test_without_the_awaited_module(python: Python, site: Path) -> None:
    (site / "ultralytics" / "nn" / "tasks.py").unlink()
    python("""
import yolo_backbones
try:
    import ultralytics.nn.tasks
except ModuleNotFoundError as error:
    assert error.name == "ultralytics.nn.tasks", error
else:
    raise SystemExit("imported what is not there")
""")


def test_import_that_fails_half_way_and_is_retried(python: Python, site: Path) -> None:
    (site / "fault.py").write_text("raise RuntimeError('half way')")
    done = python(f"""
import pathlib, sys, yolo_backbones
for _ in range(2):
    try:
        import ultralytics
    except RuntimeError:
        assert "ultralytics.nn.tasks" not in sys.modules
        assert "yolo_backbones.seam" not in sys.modules
pathlib.Path({str(site)!r}, "fault.py").write_text("retried = True")
import importlib; importlib.invalidate_caches()
import ultralytics
assert ultralytics.nn.tasks.activated == 1
""")
    assert done.stderr == ""


def test_two_threads_import_at_once(python: Python, site: Path) -> None:
    (site / "fault.py").write_text("import time; time.sleep(0.2)")
    done = python("""
import threading, yolo_backbones
start, seen = threading.Barrier(2), []
def work():
    start.wait()
    from ultralytics.nn import tasks
    seen.append(tasks.activated)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert seen == [1, 1], seen
""")
    assert done.stderr == ""


def test_installed_while_another_thread_imports(python: Python, site: Path) -> None:
    (site / "fault.py").write_text("import started; started.event.set(); import time; time.sleep(0.2)")
    (site / "started.py").write_text("import threading; event = threading.Event()")
    done = python("""
import started, sys, threading
thread = threading.Thread(target=__import__, args=("ultralytics",))
thread.start()
started.event.wait()
import yolo_backbones
assert sys.modules["ultralytics.nn.tasks"].activated == 1
thread.join()
""")
    assert done.stderr == ""


def test_installed_twice_and_from_two_copies(python: Python, site: Path) -> None:
    shutil.copy(site / "yolo_backbones" / "__init__.py", site / "second_copy.py")
    python("""
import sys, yolo_backbones, second_copy
finders = len(sys.meta_path)
yolo_backbones.install()
second_copy.install()
assert len(sys.meta_path) == finders
import ultralytics
assert ultralytics.nn.tasks.activated == 1
""")


def test_looked_up_without_being_imported(python: Python, site: Path) -> None:
    (site / "ultralytics" / "nn" / "__init__.py").write_text("")
    (site / "ultralytics" / "__init__.py").write_text("")
    python("""
import importlib.util, sys, yolo_backbones
for _ in range(2):
    assert importlib.util.find_spec("ultralytics.nn.tasks").origin.endswith("tasks.py")
assert "yolo_backbones.seam" not in sys.modules
from ultralytics.nn import tasks
assert tasks.activated == 1
""")


def test_built_from_its_spec(python: Python, site: Path) -> None:
    (site / "ultralytics" / "nn" / "__init__.py").write_text("")
    (site / "ultralytics" / "__init__.py").write_text("")
    python("""
import importlib.util, sys, yolo_backbones
spec = importlib.util.find_spec("ultralytics.nn.tasks")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert "yolo_backbones.seam" not in sys.modules
assert module.ready and module.activated == 1
""")


def test_reload(python: Python) -> None:
    python("""
import importlib, yolo_backbones
from ultralytics.nn import tasks
tasks.activated = 41
importlib.reload(tasks)
assert tasks.activated == 1
""")


def test_the_plugin_may_be_imported_first(python: Python) -> None:
    done = python("import yolo_backbones.seam, ultralytics; assert ultralytics.nn.tasks.activated == 1")
    assert done.stderr == ""


def test_the_loader_stays_what_it_is(python: Python) -> None:
    python("""
import importlib.machinery, inspect, pkgutil, yolo_backbones
spec = importlib.machinery.PathFinder.find_spec("ultralytics")
from ultralytics.nn import tasks
loader = tasks.__spec__.loader
assert type(loader) is importlib.machinery.SourceFileLoader and loader is tasks.__loader__
assert "exec_module" not in vars(loader)
assert "activated = 0" in inspect.getsource(tasks) and "activated = 0" in loader.get_source(tasks.__name__)
assert not loader.is_package(tasks.__name__)
assert b"activated = 0" in pkgutil.get_data(tasks.__name__, "tasks.py")
""")


def test_from_a_zip_file(python: Python, site: Path) -> None:
    """All modules of a folder in a zip file share one loader."""
    for name in ("__init__.py", "nn/__init__.py", "nn/sibling.py"):
        (site / "ultralytics" / name).write_text("")
    archive = shutil.make_archive(f"{site}-packed", "zip", site)
    python(
        """
import importlib.util, sys, yolo_backbones
for _ in range(2):
    loader = importlib.util.find_spec("ultralytics.nn.tasks").loader
import ultralytics.nn.sibling
assert ultralytics.nn.sibling.__loader__ is loader and type(loader).__name__ == "zipimporter"
assert "yolo_backbones.seam" not in sys.modules
import ultralytics.nn.tasks
assert ultralytics.nn.tasks.activated
assert "exec_module" not in vars(loader)
""",
        path=archive,
    )


def test_beside_another_hook_of_its_kind(python: Python, site: Path) -> None:
    python("""
import sys, yolo_backbones
from importlib.machinery import PathFinder
class Other:
    ran = []
    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target) if name == "ultralytics.nn.tasks" else None
        if spec is not None:
            run = spec.loader.exec_module
            def exec_module(module):
                del spec.loader.exec_module
                self.ran.append(module.__name__)
                run(module)
            spec.loader.exec_module = exec_module
        return spec
class Ancient:
    def find_module(self, name, path=None):
        return None
sys.meta_path[1:1] = [Ancient(), Other()]
from ultralytics.nn import tasks
assert tasks.activated == 1 and Other.ran == ["ultralytics.nn.tasks"]
assert "exec_module" not in vars(tasks.__loader__)
""")


def test_loader_that_cannot_be_watched(python: Python) -> None:
    done = python("""
import importlib.machinery, sys, yolo_backbones
class Stiff(importlib.machinery.SourceFileLoader):
    def __setattr__(self, name, value):
        if name == "exec_module":
            raise AttributeError("read-only")
        super().__setattr__(name, value)
class Finder:
    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if name == "ultralytics.nn.tasks":
            spec.loader = Stiff(name, spec.origin)
        return spec
sys.meta_path.insert(1, Finder())
from ultralytics.nn import tasks
assert tasks.ready and tasks.activated == 0
""")
    assert "AttributeError: read-only" in done.stderr


@pytest.mark.parametrize("options", [[], ["-W", "error"]], ids=["", "warnings are errors"])
@pytest.mark.parametrize("fault", ["def check(): raise ValueError('bad row')", "raise ValueError('bad row')"])
def test_failure_is_told_once_and_stops_nothing(python: Python, site: Path, fault: str, options: list[str]) -> None:
    (site / "misfit.py").write_text(fault)
    code = """
import importlib, yolo_backbones
from ultralytics.nn import tasks
importlib.reload(tasks)
assert tasks.ready and tasks.activated == 0
"""
    told = python(code, *options).stderr
    assert told.count("\n") == 1
    assert "ValueError: bad row" in told
    assert "YOLO_BACKBONES_DISABLE=1" in told


@pytest.mark.parametrize("fault", ["sys.stderr = None", "sys.stderr.close()"])
def test_failure_that_cannot_be_told(python: Python, site: Path, fault: str) -> None:
    (site / "misfit.py").write_text("raise ValueError")
    python(f"import sys; {fault}; import yolo_backbones, ultralytics; assert ultralytics.nn.tasks.ready")


def test_entry_point_of_the_start_file() -> None:
    """Python 3.15 resolves the line like this; earlier ones execute the .pth file's line, see test_install.py."""
    lines = (PACKAGE.parent / "startup" / "yolo_backbones.start").read_text().splitlines()
    assert [pkgutil.resolve_name(line) for line in lines] == [yolo_backbones.install]


def test_public_names() -> None:
    from yolo_backbones import registry

    assert yolo_backbones.register is registry.register
    assert set(yolo_backbones.__all__) <= set(dir(yolo_backbones))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = yolo_backbones.no_such_name
