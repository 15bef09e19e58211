"""Arguments of `yolo train`, as the `yolo` command takes them: imgsz=320 optimizer=SGD."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

_PAIR = re.compile(r"[A-Za-z_]\w*=")


def is_pair(text: str) -> bool:
    """Tell whether a word of the command line is such an argument, and no model's name."""
    return _PAIR.match(text) is not None


def read(pairs: Sequence[str], owned: Collection[str] = ()) -> dict[str, Any]:
    """Read key=value arguments of `yolo train`.

    Args:
        pairs: as they were typed.
        owned: keys that the command has options for, or sets itself.

    Raises:
        ValueError: one is no such argument, is owned, or has a value that Ultralytics does not take.
    """
    from ultralytics.cfg import check_cfg, check_dict_alignment, parse_key_value_pair  # slow
    from ultralytics.utils import DEFAULT_CFG_DICT

    found: dict[str, Any] = {}
    for pair in pairs:
        if not is_pair(pair):
            raise ValueError(f"{pair!r} is no argument of `yolo train`; write it as key=value, such as imgsz=320")
        key = pair.partition("=")[0]
        if key in owned:
            raise ValueError(f"{pair}: this command sets {key} itself; leave it out")
        try:
            key, found[key] = parse_key_value_pair(pair)
            check_dict_alignment(DEFAULT_CFG_DICT, {key: found[key]})
            check_cfg({key: found[key]})
        except (AssertionError, SyntaxError, TypeError, ValueError) as error:  # Ultralytics', several lines long
            raise ValueError(f"{pair}: {_first_sentence(error)}") from None
    return found


def _first_sentence(error: Exception) -> str:
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
    return " ".join(text.split("\n\n")[0].split())
