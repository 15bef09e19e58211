"""Files for contributors and maintainers: they agree with each other, and with what is there."""

import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import yolo_backbones

FLOORS = runpy.run_path(str(ROOT / ".ci" / "floors.py"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = FLOORS["tomllib"].loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})
PATH = re.compile(r"(?=.*(?:/|\.(?:py|md|ya?ml|toml|csv|cff)$))[\w.*/-]+")


def load(file: Path) -> dict:
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # by which the key `on` is text


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    return textwrap.dedent(lines).splitlines()


def commands(workflow: Path) -> list[str]:
    """What the steps of a workflow run."""
    return [step["run"] for job in load(workflow)["jobs"].values() for step in job["steps"] if "run" in step]


def test_the_citation_is_of_this_version_and_this_project():
    citation = load(ROOT / "CITATION.cff")
    assert citation["version"] == yolo_backbones.__version__
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_addresses_are_under_one_repository():
    home = PROJECT["urls"]["Homepage"]
    assert [url for url in PROJECT["urls"].values() if not url.startswith(home)] == []


def test_hooks_run_the_commands_of_make_check():
    (repo,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in repo["hooks"]]
    assert entries == [line.replace("$(BIN)", ".venv/bin") for line in recipe("check")]
    assert {(hook["language"], hook["pass_filenames"]) for hook in repo["hooks"]} == {("system", "false")}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_valid_and_may_only_read_by_default(workflow):
    found = load(workflow)
    assert {"name", "on", "permissions", "jobs"} <= found.keys()
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        assert job["runs-on"]
        assert set(needed(job)) <= found["jobs"].keys()
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def needed(job: dict) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else needs


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_calls_targets_that_the_makefile_has(workflow):
    called = {target for command in commands(workflow) for target in re.findall(r"^make (\w+)", command, re.M)}
    assert called <= targets()


def targets() -> set[str]:
    return set(re.findall(r"^(\w+):.*##", MAKEFILE, re.M))


def test_ci_runs_every_kind_of_test():
    run = commands(ROOT / ".github" / "workflows" / "ci.yml")
    assert {"make install", "make fast", "make exports", ".ci/run"} <= set(run)


def test_nothing_is_published_before_it_was_installed_everywhere():
    jobs = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    (publishes,) = (
        name for name, job in jobs.items() for step in job["steps"] if "gh-action-pypi-publish" in step.get("uses", "")
    )
    assert needed(jobs[publishes]) == ["install"]
    assert jobs[publishes]["permissions"] == {"id-token": "write"}
    assert len(jobs["install"]["strategy"]["matrix"]["os"]) == 3


def test_a_form_asks_for_what_it_says():
    assert {form.stem for form in FORMS} == {"bug", "backbone"}
    for form in map(load, FORMS):
        assert {"name", "description", "body"} <= form.keys()
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_comes_with_the_doctors_report():
    (field,) = (field for field in load(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"] if field.get("id") == "doctor")
    assert "`yolo-backbones doctor --json`" in field["attributes"]["label"]
    assert field["attributes"]["render"] == "json"
    assert field["validations"]["required"] == "true"


def test_every_path_that_contributing_names_exists():
    prose = re.sub(r"^```.*?^```", "", CONTRIBUTING, flags=re.M | re.S)
    named = {word for word in re.findall(r"`([^`\s]+)`", prose) if PATH.fullmatch(word)}
    named |= set(re.findall(r"\]\(([^):]+)\)", prose))
    named |= set(re.findall(r"[\w./]+/\w+\.py\b", CONTRIBUTING))  # in commands too
    assert len(named) > 20
    assert [path for path in sorted(named) if not any(ROOT.glob(path))] == []


def test_every_target_that_contributing_names_exists():
    calls = re.findall(r"(?:`|^)make ([a-z ]+)", CONTRIBUTING, re.M)
    named = {target for call in calls for target in call.split()}
    assert {"install", "fast", "check", "test"} <= named
    assert named - targets() == set()


def test_contributing_is_short_enough_to_read():
    assert len(CONTRIBUTING.splitlines()) <= 150


def test_the_oldest_releases_are_those_that_pyproject_allows():
    floors = FLOORS["floors"]
    with_floor = [line for line in PROJECT["dependencies"] if ">=" in line]
    assert [line.replace("==", ">=") for line in floors(PROJECT["dependencies"])] == with_floor
    assert floors(["torch>=2.4", "rich", 'tomli>=2.0; python_version < "3.11"']) == ["torch==2.4", "tomli==2.0"]


def test_make_fast_chooses_among_all_tests():
    """A parameter that it cannot tell from others would end it before its first test."""
    command = [sys.executable, "-m", "pytest", "--fast", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:]
    chosen = [line for line in run.stdout.splitlines() if line.startswith("tests/")]
    assert len(chosen) > 40  # files
