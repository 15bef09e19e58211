"""`yolo-backbones doctor`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .output import console


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Check whether the plugin works here, and say what to do if not."""
    from .. import doctor as examination

    waiting = Console(stderr=True)
    with waiting.status("importing Ultralytics, here and in other processes"):
        checks = examination.examine()
    well = all(check.ok for check in checks)
    if as_json:
        found = [dataclasses.asdict(check) | {"ok": check.ok} for check in checks]
        print(json.dumps({"ok": well, "checks": found}, indent=1))
    else:
        _print_checks(checks)
    raise typer.Exit(0 if well else 1)


def _print_checks(checks: Sequence[Any]) -> None:
    out = console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        mark = Text("ok", style="green") if check.ok else Text("NOT", style="bold red")
        table.add_row(mark, Text(check.name), Text(check.value))
    out.print(table)
    to_do = list(dict.fromkeys(check.advice for check in checks if not check.ok))
    out.print("\nAll is right." if not to_do else "\nWhat to do:")
    for advice in to_do:
        out.print(Text(f"- {advice}"), soft_wrap=True)
