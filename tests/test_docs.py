"""Figures in the documents are those of the package's table."""

import re

from conftest import ROOT, script

from yolo_backbones import catalogue


def test_the_table_of_published_networks_is_up_to_date():
    choose = script("choose")
    page = choose.PAGE.read_text(encoding="utf-8")
    shown = page.split(choose.START)[1].split(choose.END)[0].strip()
    assert shown.splitlines() == list(choose.table(choose.published()))
    assert len(shown.splitlines()) == 2 + 31


def test_the_readme_counts_timms_networks():
    rows = [entry for entry in catalogue.entries().values() if entry.source == "timm"]
    own = {entry.name for entry in catalogue.entries().values() if entry.source == "own"}
    import timm

    served = own & set(timm.list_models())
    built = sum(not entry.reason for entry in rows) + len(served)
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    claim = re.search(r"([\d,]+) of timm's ([\d,]+) architectures", text)
    assert [int(n.replace(",", "")) for n in claim.groups()] == [built, len(rows) + len(served)]
