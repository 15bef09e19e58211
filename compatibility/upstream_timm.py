"""Runs timm's own tests of its models, of the release that is installed, on our published networks.

    python compatibility/upstream_timm.py        # some minutes on 2 cores

The tests come from the release's source distribution on the package index. They are those that ask for no more than a
network's own methods: a forward pass, and a backward pass that reaches every parameter. Ours have no classifier that
can be exchanged, no `forward_intermediates`, and branch on devices and types, which torch.fx and TorchScript's compiler
do not follow. Ends with pytest's exit code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from upstream import fetch

HERE = Path(__file__).resolve().parent
TESTS = "test_model_forward", "test_model_backward"


def main() -> int:
    import timm

    with tempfile.TemporaryDirectory(prefix="upstream-timm-") as temp:
        tests = fetch(Path(temp), "timm", timm.__version__) / "tests"
        wanted = " or ".join(f"{test}[" for test in TESTS)
        command = [sys.executable, "-m", "pytest", "-p", "timm_plugin", "-q", "-W", "ignore", "test_models.py"]
        env = {**os.environ, "PYTHONPATH": str(HERE), "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": temp}
        return subprocess.run([*command, "-k", f"ours_ and ({wanted})"], cwd=tests, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
