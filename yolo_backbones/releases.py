"""The releases of Ultralytics that were tried: docs/compatibility.md has what came of it. Standard library only."""

from __future__ import annotations

import re

OLDEST, NEWEST = "8.2.0", "8.4.190"


def numbers(version: str) -> list[int]:
    """Return the numbers of a release, without what marks it as a preview or a build."""
    return [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]


def untried(version: str) -> str:
    """Say in what way a release is outside of those that were tried; empty if it is not."""
    if numbers(version) > numbers(NEWEST):
        return f"newer than {NEWEST}, the newest that was tried"
    if numbers(version) < numbers(OLDEST):
        return f"older than {OLDEST}, the oldest that was tried"
    return ""


def untried_series(version: str) -> str:
    """Say at start-up that nobody has tried a release; empty for one that is newer within the newest series.

    There is a release every other day. A line in each process about each of them would soon be read by nobody.
    """
    reason = untried(version)
    if not reason or (numbers(version)[:2] == numbers(NEWEST)[:2]):
        return ""
    return f"Ultralytics {version} is {reason}; `yolo-backbones doctor` shows what it allows"
