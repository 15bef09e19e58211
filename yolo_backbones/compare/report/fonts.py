"""Names of any script in plots, as far as the fonts that are there have the letters."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import matplotlib
from matplotlib import font_manager

# matplotlib's own first; the others, where they are installed, for letters that it lacks.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Arial Unicode MS",
)


@functools.cache
def _families() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [family for family in _FAMILIES if family in installed]


@functools.cache
def _letters() -> frozenset[int]:
    files = [font_manager.findfont(family) for family in _families()]
    return frozenset(letter for file in files for letter in font_manager.get_font(file).get_charmap())


def chosen() -> AbstractContextManager[None]:
    """Return a context in which text is drawn with the first font that has each letter."""
    return matplotlib.rc_context({"font.family": _families()})


def plain(name: str, index: int | None = None) -> str:
    """Return a name as text to draw: `$` starts no formula, a letter that no font has is `?`.

    Args:
        name: a model's or a class's name.
        index: number of the class, which stands for a name with such letters.
    """
    if any(ord(letter) not in _letters() for letter in name):
        if index is not None:
            return f"class {index}"
        name = "".join(letter if ord(letter) in _letters() else "?" for letter in name)
    # matplotlib leaves a name that starts with an underscore out of a legend.
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
