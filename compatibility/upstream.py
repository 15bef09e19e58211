"""Runs Ultralytics' own tests, of the release that is installed: without the plugin, with it, and with its models.

    python compatibility/upstream.py                       # all: off, on, and each family; hours on 2 cores
    python compatibility/upstream.py --modes off,on        # only these
    python compatibility/upstream.py --modes off,starnet --suites engine
    python compatibility/upstream.py --report              # compares what was found before

The tests come from the release's source distribution on the package index. What they would download is made here: small
drawn data sets under the names of Ultralytics' own, and untrained checkpoints. In a family's mode, `yolo26n.yaml` and
`yolo26n-seg.pt` become `yolo26n-starnet.yaml` and `yolo26n-starnet-seg.pt` wherever the tests name them.

Nothing that passes with the plugin off may fail with it on, and nothing that passes on may fail in a family's mode, but
for what `upstream_exceptions.yaml` names with the reason. Ends with 1 otherwise. Results go to --out, the table to
docs/upstream.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = ROOT / "docs" / "upstream.md"
EXCEPTIONS = HERE / "upstream_exceptions.yaml"
SUITES = "engine", "cli", "exports", "python"
BASE = "yolo26n"
KINDS = "passed", "failed", "skipped"
_SUITE = re.compile(r"test_(\w+)(?=::|\.)")
LIMIT = 3 * 3600  # seconds for one mode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", help="of off, on and the families; default: all")
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--jobs", default="auto", help="as pytest-xdist's --numprocesses")
    parser.add_argument("--out", type=Path, default=Path("runs/upstream"))
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    modes = args.modes.split(",") if args.modes else ["off", "on", *families()]
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.report:
        with tempfile.TemporaryDirectory(prefix="upstream-") as temp:
            source = fetch(Path(temp), "ultralytics", release(), "--no-build-isolation")
            for mode in modes:
                found = run(mode, source, Path(temp) / mode, args.suites.split(","), args.jobs)
                (args.out / f"{mode}.json").write_text(json.dumps(found, indent=1) + "\n")
                print(f"{mode}: {summary(found)}", flush=True)
    results = {path.stem: json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))}
    lines, worse = compare(results)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(worse) or "nothing fails that passes without")
    return 1 if worse else 0


def families() -> list[str]:
    return sorted(path.stem.removeprefix("yolov8-") for path in (ROOT / "cfg").glob("yolov8-*.yaml"))


def release() -> str:
    import ultralytics

    return ultralytics.__version__


def fetch(folder: Path, package: str, version: str, *options: str) -> Path:
    """Download and unpack the tests of a package's release; return the folder that holds `tests`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package, *options]
    subprocess.run([*pip, "--dest", folder, f"{package}=={version}"], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, members=[m for m in packed.getmembers() if "/tests/" in m.name], filter="data")
    (tests,) = folder.glob("*/tests")
    return tests.parent


def run(mode: str, source: Path, place: Path, suites: list[str], jobs: str) -> dict[str, str]:
    """Run the suites in one mode; return each test's outcome by its name."""
    place.mkdir()
    shutil.copytree(source / "tests", place / "tests")
    if mode not in {"off", "on"}:
        rename_models(place / "tests", mode)
    settings = place / "config" / "Ultralytics"
    settings.mkdir(parents=True)
    folders = {f"{name}_dir": str(place / name) for name in ("datasets", "weights", "runs")}
    (settings / "settings.json").write_text(json.dumps({**folders, "sync": False}))
    env = {
        **os.environ, "YOLO_CONFIG_DIR": str(place / "config"), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
        "YOLO_BACKBONES_DISABLE": "1" if mode == "off" else "", "UPSTREAM_MODE": mode, "MPLBACKEND": "Agg",
        "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    report = place / "report.xml"
    subprocess.run([sys.executable, HERE / "upstream_assets.py", place], check=True, env=env, cwd=place)
    files = [place / "tests" / f"test_{suite}.py" for suite in suites]
    command = [sys.executable, "-m", "pytest", "-p", "upstream_plugin", "-q", f"--numprocesses={jobs}"]
    command += ["--dist=loadfile", f"--junitxml={report}", "-o", "junit_family=xunit1", *files]
    with open(place / "log.txt", "w") as log:
        subprocess.run(command, env=env, cwd=place, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT)
    if not report.exists():
        sys.exit(f"upstream: {mode} left no report; its last words:\n{(place / 'log.txt').read_text()[-3000:]}")
    return outcomes(report, mode)


def rename_models(tests: Path, family: str) -> None:
    """Put the family into every name of a model in the tests."""
    for file in tests.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(renamed(text, family), encoding="utf-8")


def renamed(text: str, family: str) -> str:
    return re.sub(rf"\b{BASE}((?:-(?:seg|pose|obb|cls))?\.(?:yaml|pt))", rf"{BASE}-{family}\1", text)


def outcomes(report: Path, mode: str) -> dict[str, str]:
    """Read what became of each test; a family's names count as stock's."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".replace(f"{BASE}-{mode}", BASE)
        kinds = {child.tag: child for child in case}
        bad = kinds.get("failure", kinds.get("error"))
        if bad is not None:
            found[name] = "failed: " + " ".join((bad.get("message") or "").split())[:300]
        else:
            found[name] = "skipped" if "skipped" in kinds else "passed"
    return found


def summary(found: dict[str, str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in zip(KINDS, counts(found)))


def counts(found: dict[str, str]) -> list[int]:
    return [sum(outcome.startswith(kind) for outcome in found.values()) for kind in KINDS]


def compare(results: dict[str, dict[str, str]]) -> tuple[list[str], list[str]]:
    """Return docs/upstream.md, and what fails though it passes without."""
    listed = yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8")) or {}
    lines = [
        "# Ultralytics' own tests",
        "",
        f"Written by `make upstream` (`compatibility/upstream.py`) with the tests of Ultralytics {release()}.",
        "They are run with the plugin switched off, with it on, and with each family in the place of YOLO26's own",
        "backbone. Tests that fail with the plugin off need weights, data sets or a network that are not there, and",
        "count nowhere.",
        "",
        "| mode | suites | passed | failed | skipped | fails though it passes without |",
        "|---|---|---|---|---|---|",
    ]
    worse, notes = [], []
    for mode, found in sorted(results.items(), key=lambda item: (item[0] not in {"off", "on"}, item[0])):
        suites = sorted(set(map(suite_of, found)))
        whole = results.get("off" if mode in {"off", "on"} else "on", {})
        reference = {name: said for name, said in whole.items() if suite_of(name) in suites}
        lost = [name for name, said in found.items() if said.startswith("failed") and reference.get(name) == "passed"]
        lost += [name for name, said in reference.items() if said == "passed" and name not in found]
        excused = [name for name in lost if reason_of(name, mode, listed)]
        worse += [f"{mode}: {name}: {found.get(name, 'gone')}" for name in lost if name not in excused]
        notes += [f"- {mode}: `{name}`: {reason_of(name, mode, listed)}" for name in excused]
        with_reason = f", {len(excused)} with a reason" if excused else ""
        figures = " | ".join(map(str, counts(found)))
        lines.append(f"| {mode} | {', '.join(suites)} | {figures} | {len(lost)}{with_reason} |")
    return [*lines, *(["", *notes] if notes else [])], worse


def suite_of(name: str) -> str:
    match = _SUITE.search(name)
    return match[1] if match else ""


def reason_of(name: str, mode: str, listed: dict[str, dict[str, str]]) -> str:
    """Return why a test may fail in a mode; empty if it may not."""
    for pattern, reason in {**listed.get("all", {}), **listed.get(mode, {})}.items():
        if re.search(pattern, name):
            return reason
    return ""


if __name__ == "__main__":
    sys.exit(main())
