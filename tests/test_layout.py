"""How the package is laid out: who may know whom, who may be named where, how long a file may be."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from yolo_backbones.families import families

PACKAGE = ROOT / "yolo_backbones"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(folder)}  # else it finds the package where it is installed
    return subprocess.run([program, "--no-cache"], cwd=folder, env=env, capture_output=True, text=True)


def test_imports_keep_to_the_layers():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("layers/conv.py", "def f():\n    from ..seam import activate\n"),  # upwards, inside a function
        ("families/starnet.py", "from .vanillanet import VanillaBlock\n"),
        ("weights/fit.py", "from ..families import families\n"),
        ("backbones/own.py", "from ..families.starnet import StarNet\n"),
        ("layers/merge.py", "from . import fold\n"),  # a circle: fold imports merge
    ],
)
def test_an_import_that_breaks_the_layers_is_found(file, line, tmp_path):
    for source in FILES:
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with open(tmp_path / "yolo_backbones" / file, "a", encoding="utf-8") as changed:
        changed.write(line)
    done = lint(tmp_path)
    assert done.returncode != 0 and "BROKEN" in done.stdout, done.stdout


def test_no_file_outside_of_families_names_one():
    titles = re.compile("|".join(re.escape(family.title) for family in families().values()))
    elsewhere = [file for file in FILES if "families" not in file.relative_to(PACKAGE).parts]
    named = {str(file.relative_to(ROOT)): titles.findall(file.read_text(encoding="utf-8")) for file in elsewhere}
    assert {file: found for file, found in named.items() if found} == {}


# What others' packages keep to themselves, and may rename or not have had in the oldest release that is supported.
PRIVATE = {
    "torch.nn.modules.batchnorm._BatchNorm": "in torch since 0.4",
    "torch.utils._python_dispatch.TorchDispatchMode": "in torch since 1.12",
    "torch.utils._pytree.tree_leaves": "in torch since 2.2",
}


def test_a_private_import_is_in_the_oldest_release_too():
    """CI has the newest torch alone; `make compat` tries the others, and rarely."""
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    private = re.compile(r"\.(_(?!_)\w+)")
    assert {name for name in found if private.search(name) and not name.startswith("yolo_backbones")} == set(PRIVATE)


def test_a_long_file_says_why():
    long = [file for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > MOST_LINES]
    for file in long:
        opening = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        assert "One file" in opening or "one file" in opening, (
            f"{file.name} is long, and its docstring does not say why"
        )


def docstrings(file: Path) -> list[tuple[bool, str]]:
    """Every docstring of a file, and whether it is a function's."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    found = []
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", [])]
            noun = not isinstance(node, ast.FunctionDef) or any(d.endswith(("property", ".setter")) for d in decorators)
            found.append((not noun, text))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_docstring_opens_with_what_the_thing_does_or_is(file):
    """Verbs in another mood ruff finds (D401)."""
    questions = {"What", "Whether", "How", "Which", "Where", "Why"}
    for function, text in docstrings(file):
        first = text.split()[0].rstrip(",.:;")
        assert first not in questions, text
        assert not function or first not in {"The", "A", "An", "Each", "All", "One", "As", "Our", "Those"}, text
