"""Rows and lists as they are put into messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


def shown_row(block: str, args: Any) -> str:
    """Return block and arguments as a YAML has them: starnet_s1, [True]."""
    text = yaml.safe_dump(args, default_flow_style=True, width=10_000, sort_keys=False)
    return f"{block}, {text.removesuffix('...' + chr(10)).strip()}"


def listed(parts: Sequence[str]) -> str:
    """Join parts with commas and an "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
