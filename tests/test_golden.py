"""Earlier checkpoints open, and find what they found: every class is where it was, or its old path works."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT, script

from yolo_backbones.families import families

golden = script("golden")
FILES = sorted(golden.FOLDER.glob("*.pt"))
OPEN = """
import json, runpy, sys
golden = runpy.run_path(sys.argv[1])
print(json.dumps(golden["boxes"](sys.argv[2])))
"""


def test_every_family_and_a_network_of_timms_has_one():
    assert {file.stem for file in FILES} == {*families(), golden.TIMM}
    assert all(file.stat().st_size <= golden.MOST for file in FILES)


@pytest.mark.parametrize("restricted", ["", "1"], ids=["plain", "restricted"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_opens_and_finds_the_same(file, restricted, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OPEN, ROOT / "benchmarks" / "golden.py", file],
        cwd=tmp_path, env={**os.environ, "ULTRALYTICS_SAFE_LOAD": restricted}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = json.loads(file.with_suffix(".json").read_text())
    assert len(found) == len(expected) == 10
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_tells_nothing_of_the_machine_it_was_made_on(file):
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert not [word for word in (b"/tmp", b"/root", b"/home", b"/work", b"github.com") if word in pickled]
