"""Figures in the documents are those of the package's table."""

import csv
import json
import re

from conftest import ROOT, script

from yolo_backbones import catalogue, releases
from yolo_backbones.families import families


def test_the_table_of_published_networks_is_up_to_date():
    choose = script("choose")
    page = choose.PAGE.read_text(encoding="utf-8")
    shown = page.split(choose.START)[1].split(choose.END)[0].strip()
    assert shown.splitlines() == list(choose.table(choose.published()))
    assert len(shown.splitlines()) == 2 + sum(len(family.variants) for family in families().values())


def test_the_readme_counts_timms_networks():
    rows = [entry for entry in catalogue.entries().values() if entry.source == "timm"]
    own = {entry.name for entry in catalogue.entries().values() if entry.source == "own"}
    import timm

    served = own & set(timm.list_models())
    built = sum(not entry.reason for entry in rows) + len(served)
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    claim = re.search(r"([\d,]+) of timm's ([\d,]+) architectures", text)
    assert [int(n.replace(",", "")) for n in claim.groups()] == [built, len(rows) + len(served)]


def test_the_performance_tables_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as `python benchmarks/report.py` has it
    report = script("report")
    originals = [page for page in report.PAGES if page.name != "README.zh-CN.md"]
    written = "".join(page.read_text(encoding="utf-8") for page in originals)
    assert all(written.count(report.start(table)) == 1 for table in report.TABLES)
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert report.filled(text) == text, f"{page.name}: python benchmarks/report.py writes it anew"


def test_every_family_is_faster_than_stock_where_the_readme_says_so():
    """At n and s, 0.9 or less of stock's latency on ONNX Runtime and OpenVINO, in the figures that are kept."""
    with open(ROOT / "benchmarks" / "results" / "models.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["backend"] in {"onnx", "openvino"}]
    found = [row for row in rows if re.fullmatch(r"yolov8[ns]-.*", row["model"])]
    assert {row["model"] for row in found} == {f"yolov8{scale}-{name}.yaml" for scale in "ns" for name in families()}
    assert len(found) == 2 * 2 * len(families())
    slower = {(row["model"], row["backend"]) for row in found if not float(row["ratio"]) <= 0.9}
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    named = re.search(r"every family (?:but ([`\w, -]+?) )?stays at 0\.9 or below", readme)
    assert {family for family in families() if any(f"-{family}" in model for model, _ in slower)} == {
        *re.findall(r"\w+", named[1] or "")
    }


def test_the_readme_tells_what_every_family_learned():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with open(ROOT / "benchmarks" / "results" / "learn.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"yolov8n", *(f"yolov8n-{name}" for name in families())}
    for row in rows:
        name = row["model"].replace("yolov8n", "yolov8")
        (line,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}.yaml`") and "(" in line)
        score, spread, ratio = re.search(r"([\d.]+) ± ([\d.]+) \(([\d.]+)\) \|$", line).groups()
        assert (float(score), float(ratio)) == (round(float(row["mAP50-95"]), 3), round(float(row["ratio"]), 2))
        assert float(spread) == round(float(row["sd"]), 3) and int(row["seeds"]) > 1


def test_the_releases_that_are_said_to_be_tried_were():
    """By `make compat`, whose results the table in docs/compatibility.md is written from; and all of it worked."""
    found = json.loads((ROOT / "compatibility" / "results.json").read_text(encoding="utf-8"))
    tried = [row for row in found.values() if row["versions"]]
    versions = sorted((row["versions"]["ultralytics"] for row in tried), key=releases.numbers)
    assert (versions[0], versions[-1]) == (releases.OLDEST, releases.NEWEST)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in ("ultralytics", "torch", "timm"):
        floor = re.search(rf'^  "{package}>=([\d.]+)"', text, re.MULTILINE)[1]
        oldest = min((row["versions"][package] for row in tried), key=releases.numbers)
        assert releases.numbers(oldest)[:2] == releases.numbers(floor)[:2], package
    assert {said for row in tried for model in row["models"].values() for said in model.values()} == {"ok"}
    assert all(len(row["models"]) >= 7 for row in tried)


def test_the_chinese_readme_has_the_same_commands_and_figures():
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert sorted(code_of(english)) == sorted(code_of(chinese))
    for what in (r"\]\(([^)]+)\)", r"<!-- written by .*? -->.*?<!-- end -->"):  # links, and tables that a script writes
        found = [set(re.findall(what, text, re.DOTALL)) for text in (english, chinese)]
        assert found[0] - {"README.zh-CN.md"} == found[1] - {"README.md"}
    # Chinese writes twelve and a third without digits, as English does; it says more of the dialects.
    dialects = next(part for part in chinese.split("## ") if "docs/dialects.md" in part)
    figures = [set(re.findall(r"\d[\d.,]*\d|\d", text)) for text in (english, chinese.replace(dialects, ""))]
    assert figures[0] - figures[1] == set(), "figures that the translation lacks"
    assert figures[1] - figures[0] == set(), "figures that only the translation has"


def code_of(text: str) -> list[str]:
    """Return the blocks of code without their comments."""
    blocks = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)
    return ["\n".join(re.sub(r"\s*#.*", "", line) for line in block.splitlines()) for block in blocks]
