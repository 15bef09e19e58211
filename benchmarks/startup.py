"""What the package adds to the start of every Python: `python -c pass` in two environments that differ by it alone.

    python benchmarks/startup.py

The environments are thrown away afterwards. Both hold as many (empty) packages as the one that runs this, since
Python lists the folder when it first imports from there. The runs alternate, so that a busy machine slows both.
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


def environment(folder: Path, *, with_package: bool) -> Path:
    """Makes a virtual environment and returns its interpreter."""
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
    """Milliseconds that `python -c pass` takes."""
    begin = time.perf_counter()
    subprocess.run([interpreter, "-c", "pass"], check=True)
    return (time.perf_counter() - begin) * 1e3


def loaded(interpreter: Path) -> set[str]:
    """The modules that are loaded when the first line of a program runs."""
    listing = [interpreter, "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300, help="runs of each environment")
    pairs = parser.parse_args().pairs

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


if __name__ == "__main__":
    main()
