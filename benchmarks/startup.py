"""Measure what the package adds to the start of every Python, and to imports of Ultralytics.

    python benchmarks/startup.py

Start: `python -c pass` in two environments that differ by the package alone. The environments are thrown away
afterwards. Both hold as many (empty) packages as the one that runs this, since Python lists the folder when it first
imports from there. Imports: in this environment, with the plugin and with it switched off. All runs alternate, so that
a busy machine slows both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "timm", "ultralytics")
BUDGET = 0.5  # ms, of the median
IMPORTS = {"import ultralytics": 30.0, "import ultralytics.nn.tasks": 30.0}  # and how many ms each may grow by


def environment(folder: Path, *, with_package: bool) -> Path:
    """Make a virtual environment and return its interpreter."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site_packages = next(folder.rglob("site-packages"))
    if with_package:
        subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
        wheel = next(folder.glob("*.whl"))
        subprocess.run([*pip, "--python", interpreter, "install", "--no-deps", wheel], check=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.is_dir() and not path.name.startswith("yolo_backbones"):
            (site_packages / path.name).mkdir(exist_ok=True)
    return interpreter


def start(interpreter: Path) -> float:
    """Return milliseconds that `python -c pass` takes."""
    begin = time.perf_counter()
    subprocess.run([interpreter, "-c", "pass"], check=True)
    return (time.perf_counter() - begin) * 1e3


def loaded(interpreter: Path) -> set[str]:
    """Return the modules that are loaded when the first line of a program runs."""
    listing = [interpreter, "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split())


def imported(statement: str, *, plugin: bool) -> float:
    """Return the milliseconds that an import takes in a fresh Python, without the start of that."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    env = {**os.environ, "YOLO_BACKBONES_DISABLE": "" if plugin else "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    return float(done.stdout.split()[-1]) * 1e3


def compare_imports(statement: str, budget: float, pairs: int) -> bool:
    """Print by how much the package lengthens an import; tell whether that is within the budget."""
    imported(statement, plugin=True), imported(statement, plugin=False)  # fills the disk cache
    runs = [
        (imported(statement, plugin=False), imported(statement, plugin=True))
        if i % 2
        else (imported(statement, plugin=True), imported(statement, plugin=False))[::-1]
        for i in range(pairs)
    ]
    differences = [b - a for a, b in runs]
    low, _, high = statistics.quantiles(differences, n=4)
    median = statistics.median(differences)
    print(
        f"{statement}: {statistics.median(a for a, _ in runs):.0f} ms without, {median:+.1f} ms with the package "
        f"(median of {pairs} paired differences; half of them lie in {low:+.1f} .. {high:+.1f}); "
        f"budget {budget:g} ms, {'kept' if median <= budget else 'exceeded'}"
    )
    return median <= budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300, help="runs of each environment")
    parser.add_argument("--import-pairs", type=int, default=15, help="runs of each import, with and without")
    args = parser.parse_args()
    pairs = args.pairs

    with tempfile.TemporaryDirectory() as temp:
        plain = environment(Path(temp) / "plain", with_package=False)
        ours = environment(Path(temp) / "ours", with_package=True)
        for _ in range(10):  # fills the disk cache
            start(plain), start(ours)
        # Every other pair the other way round: a start may profit from the one before.
        runs = [(start(plain), start(ours)) if i % 2 else (start(ours), start(plain))[::-1] for i in range(pairs)]
        added = loaded(ours) - loaded(plain)

    differences = [b - a for a, b in runs]
    low, _, high = statistics.quantiles(differences, n=4)
    median = statistics.median(differences)
    print(f"python -c pass without the package: {statistics.median(a for a, _ in runs):.2f} ms (median of {pairs})")
    print(f"with it: {median:+.2f} ms (median of paired differences; half of them lie in {low:+.2f} .. {high:+.2f})")
    print(f"modules it adds: {', '.join(sorted(added))}")
    print(f"of {', '.join(HEAVY)}: {', '.join(sorted(added & set(HEAVY))) or 'none'}")
    print(f"budget: {BUDGET} ms, {'kept' if median <= BUDGET else 'exceeded'}")
    if added & set(HEAVY):
        sys.exit("the start of Python must not import any of them")
    kept = [compare_imports(statement, budget, args.import_pairs) for statement, budget in IMPORTS.items()]
    if not all(kept):
        sys.exit("an import of Ultralytics takes too much longer")


if __name__ == "__main__":
    main()
