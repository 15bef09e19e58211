"""Tries the package with old and new releases of what it stands on, each in a throw-away environment made by uv.

    python compatibility/releases.py                    # every row of ROWS; an hour on 2 cores
    python compatibility/releases.py --only 8.2.0       # rows whose title contains that
    python compatibility/releases.py --report           # writes the table anew from what was found before

Each row is a set of releases. In it, stock YOLOv8n, each family and a network of timm are built, merged, trained by the
`yolo` command, opened again, exported and aligned to stock (probe.py). Results go to `results.json` and, as a table, to
docs/compatibility.md. Ends with 1 if a step failed that stock passes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import probe

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.json")
TABLE = ROOT / "docs" / "compatibility.md"
TIMM = "yolov8n-resnet18.yaml"


@dataclass(frozen=True)
class Row:
    """An environment: the Python, and what pip is asked for beside the package."""

    title: str
    python: str
    wanted: tuple[str, ...] = field(default=())


def ultralytics(release: str, python: str, torch: str, vision: str, *more: str) -> Row:
    wanted = (f"ultralytics=={release}", f"torch=={torch}", f"torchvision=={vision}", *more)
    return Row(f"Ultralytics {release}, torch {torch}", python, wanted)


# setuptools: Ultralytics 8.2 imports pkg_resources. NumPy: torch before 2.3 and OpenCV's wheels of then.
OLD = "numpy<2", "setuptools<81"
ROWS = [
    ultralytics("8.2.0", "3.10", "2.4.0", "0.19.0", *OLD),
    ultralytics("8.2.103", "3.11", "2.4.1", "0.19.1", *OLD),
    ultralytics("8.3.0", "3.12", "2.5.1", "0.20.1", "setuptools<81"),
    ultralytics("8.3.100", "3.10", "2.6.0", "0.21.0", "setuptools<81"),
    ultralytics("8.3.200", "3.11", "2.8.0", "0.23.0"),
    ultralytics("8.4.0", "3.12", "2.9.1", "0.24.1"),
    ultralytics("8.4.50", "3.13", "2.10.0", "0.25.0"),
    Row("Ultralytics 8.4.100, newest torch", "3.11", ("ultralytics==8.4.100",)),
    Row("Ultralytics 8.4.150, newest torch", "3.11", ("ultralytics==8.4.150",)),
    Row("newest of all", "3.11", ("ultralytics",)),
    Row("newest of all", "3.10", ("ultralytics",)),
    Row("newest of all", "3.12", ("ultralytics",)),
    Row("newest of all", "3.13", ("ultralytics",)),
    Row("newest of all", "3.14", ("ultralytics",)),
    Row("newest Ultralytics, torch 2.4.0", "3.11", ("ultralytics", "torch==2.4.0", "torchvision==0.19.0", "numpy<2")),
    Row("newest Ultralytics, oldest timm", "3.11", ("ultralytics", "timm=={timm}")),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose title contains this")
    parser.add_argument("--report", action="store_true", help="only write the table")
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not args.report:
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if uv is None:
            sys.exit("releases: no uv; pip install uv")
        for row in ROWS:
            if args.only in row.title:
                found[key(row)] = examine(uv, row)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    rows = [(row, found[key(row)]) for row in ROWS if key(row) in found]
    TABLE.write_text(report(rows), encoding="utf-8")
    worse = [line for row, result in rows for line in faults(row, result)]
    print("\n".join(worse) or "nothing fails that works with stock")
    return 1 if worse else 0


def key(row: Row) -> str:
    return f"{row.title}, Python {row.python}"


def models() -> list[str]:
    """Return stock's model, each family's, and one of timm."""
    stems = sorted(path.stem for path in (ROOT / "cfg").glob("yolov8-*.yaml"))
    return [probe.STOCK, *(f"{stem.replace('yolov8', 'yolov8n')}.yaml" for stem in stems), TIMM]


def examine(uv: str, row: Row) -> dict:
    """Make the environment, run the probe for each model, and remove the environment."""
    print(f"== {key(row)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="compatibility-") as temp:
        folder = Path(temp)
        python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        interpreter = interpreter_of(row.python)
        wanted = [name.format(timm=floor("timm")) for name in row.wanted]
        install = [uv, "pip", "install", "--quiet", "--python", str(python), *wanted, str(ROOT), "onnx", "onnxruntime"]
        for command, failed in (
            ([uv, "venv", "--quiet", "--python", interpreter, str(folder / "env")], f"uv found no Python {row.python}"),
            (install, ""),
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"   {done.stderr}", flush=True)
                return {"versions": {}, "models": {}, "reason": failed or " ".join(done.stderr.split())[:400]}
        env = {
            **os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
            "OMP_NUM_THREADS": "2", "MPLBACKEND": "Agg",
        }  # fmt: skip
        env.pop("PYTHONPATH", None)
        draw = "import sys; from yolo_backbones import shapes; shapes.draw(sys.argv[1], train=8, val=4, imgsz=64)"
        subprocess.run([python, "-c", draw, str(folder / "shapes")], check=True, env=env, cwd=folder)
        data = folder / "shapes.yaml"
        data.write_text(f"path: {folder / 'shapes'}\ntrain: images/train\nval: images/val\nnames: [a, b, c, d, e]\n")
        result = {"versions": versions(python, env, folder), "models": {}}
        for model in models():
            place = folder / Path(model).stem  # a folder of the model's own name would be taken for its file
            place.mkdir()
            command = [python, Path(probe.__file__).resolve(), model, "--data", data, "--folder", place]
            done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=1800)
            lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            result["models"][model] = json.loads(lines[-1][6:]) if lines else {"build": said[-1]}
            print(f"   {model}: {result['models'][model]}", flush=True)
        return result


def interpreter_of(version: str) -> str:
    """Find a Python of that version: on PATH, pyenv's, or else uv's own."""
    on_path = shutil.which(f"python{version}")
    if on_path and subprocess.run([on_path, "-c", ""], capture_output=True).returncode == 0:
        return on_path
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))), version)


def floor(package: str) -> str:
    """Return the oldest release of a package that pyproject.toml allows."""
    text = (ROOT / "pyproject.toml").read_text()
    return text.split(f'"{package}>=')[1].split('"')[0]


def versions(python: Path, env: dict[str, str], folder: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json, platform; "
        "print(json.dumps({'python': platform.python_version(), "
        "**{name: m.version(name) for name in ('ultralytics', 'torch', 'torchvision', 'timm', 'numpy')}}))"
    )
    return json.loads(subprocess.check_output([python, "-c", code], env=env, cwd=folder, text=True))


def faults(row: Row, result: dict) -> list[str]:
    """List the steps that fail though stock passes them."""
    stock = result["models"].get(probe.STOCK, {})
    return [
        f"{key(row)}: {model}: {step}: {said}"
        for model, steps in result["models"].items()
        for step, said in steps.items()
        if said != "ok" and stock_passes(stock, step)
    ]


def report(rows: list[tuple[Row, dict]]) -> str:
    """Return docs/compatibility.md."""
    names = [model.removesuffix(".yaml") for model in models()]
    lines = [
        "# Compatibility",
        "",
        "Written by `make compat` (`compatibility/releases.py`), which makes an environment for each row with uv.",
        "In it, every model is built, merged by `fuse()`, trained for an epoch by `yolo train`, opened again, and",
        "exported to ONNX, where its output is compared, and aligned to stock. A cell says ok, or at which step it",
        "failed; a step at which stock fails as well is in brackets.",
        "",
        f"| Python | Ultralytics | torch | timm | {' | '.join(names)} |",
        f"|---|---|---|---|{'---|' * len(names)}",
    ]
    notes: list[str] = []
    for row, result in rows:
        found = result["versions"]
        if not found:
            lines.append(f"| {row.python} | {row.title} | | | could not be installed {'| ' * len(names)}|")
            notes.append(f"- {key(row)}: could not be installed: {result['reason']}")
            continue
        stock = result["models"][probe.STOCK]
        cells = [cell(model, result["models"].get(model, {}), stock) for model in models()]
        about = [found["python"], found["ultralytics"], found["torch"].partition("+")[0], found["timm"]]
        lines.append(f"| {' | '.join(about + cells)} |")
        notes += [f"- {line}" for line in failures(row, result)]
    if notes:
        lines += ["", "What was said:", "", *notes]
    return "\n".join(lines) + "\n"


def stock_passes(stock: dict[str, str], step: str) -> bool:
    return step == probe.ALIGN or stock.get(step) == "ok"


def cell(model: str, steps: dict[str, str], stock: dict[str, str]) -> str:
    for step in probe.steps_of(model):
        if step not in steps:
            break
        if steps[step] != "ok":
            return step if stock_passes(stock, step) else f"({step})"
    return "ok" if set(steps) == set(probe.steps_of(model)) else "not tried"


def failures(row: Row, result: dict) -> list[str]:
    found: dict[str, list[str]] = {}
    for model, steps in result["models"].items():
        for step, said in steps.items():
            if said != "ok":
                found.setdefault(f"{step}: {said}", []).append(model.removesuffix(".yaml"))
    return [f"{key(row)}: {', '.join(names)}: {said}" for said, names in found.items()]


if __name__ == "__main__":
    sys.exit(main())
