"""Names of backbones as people type them, and which backbone each means.

Case, dashes, underscores and dots do not count where one backbone alone is spelled so: resnet-18, ConvNeXt-Tiny. Other
names stand in `aliases.csv`: what torchvision, a paper, the Hugging Face hub or an old timm call a network. Standard
library only.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("aliases.csv")

# What stands in front of a network's name to say whose it is: hf-hub:timm/resnet18, timm-resnet18, facebook/levit-128.
_PUBLISHERS = "apple|facebook|google|huggingface|microsoft|opengvlab|pytorch|sail|snap-research|timm|torchvision"
_LIBRARY = re.compile(rf"^(?:hf[-_]hub:)?(?:(?:{_PUBLISHERS})/)?(?:(?:timm|torchvision|tv|tu)[-_./:])?", re.IGNORECASE)

# Image size and width, with which a name goes on without any other choice: tiny_vit_5m_224, fbnetc_100.
_ONLY_SIZE = re.compile(r"\d+(?:_\d+)*")


class Alias(NamedTuple):
    """A line of the table.

    Attributes:
        names: the backbone that is called so, with a tag where the name is that of weights; or several that come near,
            where none is the same.
        whose: who calls it so; empty where none is the same.
        reason: what makes it the same, or why none is.
    """

    names: tuple[str, ...]
    whose: str
    reason: str


class Meaning(NamedTuple):
    """The one backbone that a typed name stands for.

    Attributes:
        name: the backbone's name, with the tag that was typed.
        whose: who calls it so; empty where only the spelling differs.
    """

    name: str
    whose: str = ""


@functools.cache
def table() -> dict[str, Alias]:
    """Return the table by folded name."""
    with open(FILE, newline="", encoding="utf-8") as file:
        return {
            row["alias"]: Alias(tuple(row["names"].split()), row["whose"], row["reason"])
            for row in csv.DictReader(file)
        }


def fold(name: str) -> str:
    """Return a name in lower case with underscores alone: ResNet-18 -> resnet_18."""
    return re.sub(r"[-_./: ]+", "_", name.lower()).strip("_")


def squash(name: str) -> str:
    """Return a name in lower case without what separates its words, but for two numbers: VGG-16_BN -> vgg16bn."""
    return re.sub(r"(?<!\d)_|_(?!\d)", "", fold(name))


def without_library(typed: str) -> str:
    """Remove what says whose a network is: hf-hub:timm/resnet18.a1_in1k -> resnet18.a1_in1k."""
    return _LIBRARY.sub("", typed)


class Index:
    """Finds the known name that a typed one means.

    Args:
        known: the backbones' names.
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        squashed: dict[str, set[Meaning]] = {}
        for name in known:
            squashed.setdefault(squash(name), set()).add(Meaning(name))
        for alias, (names, whose, _) in table().items():
            if whose:
                squashed.setdefault(squash(alias), set()).add(Meaning(names[0], whose))
        self._squashed: dict[str, Meaning] = {}
        for key, meanings in squashed.items():
            if len({meaning.name for meaning in meanings}) == 1:
                self._squashed[key] = min(meanings, key=lambda meaning: meaning.whose)

    def find(self, typed: str) -> Meaning | None:
        """Find the one backbone that a name means; None where there is none, or several are right.

        A dot may be a part of the name, as in repvit_m1.1, or separate a tag.
        """
        plain = without_library(typed)
        whole = self._network(typed) or self._network(plain)  # tv_resnet50 stands in the table as it is
        if whole is not None:
            return whole
        name, dot, tag = plain.partition(".")
        found = self._network(name) if dot else None
        return None if found is None else found._replace(name=f"{found.name.partition('.')[0]}.{tag}")

    def _network(self, typed: str) -> Meaning | None:
        folded = fold(typed)
        if folded in self._known:
            return Meaning(folded)
        alias = table().get(folded)
        if alias is not None:
            return Meaning(alias.names[0], alias.whose) if alias.whose else None
        found = self._squashed.get(squash(typed))
        if found is not None:
            return found
        longer = [name for name in self._known if name.startswith(f"{folded}_")] if folded else []
        if len(longer) == 1 and _ONLY_SIZE.fullmatch(longer[0][len(folded) + 1 :]):
            return Meaning(longer[0])
        return None

    def series(self, typed: str) -> list[str]:
        """List the backbones whose names begin with the typed one, or have it as a word: mobilenetv4, dinov3."""
        plain = without_library(typed.partition(".")[0])
        folded, squashed = fold(plain), squash(plain)
        if len(squashed) < 3:
            return []
        return [name for name in self._known if squash(name).startswith(squashed) or f"_{folded}_" in f"_{name}_"]


def without_equal(typed: str) -> Alias | None:
    """Find what the table says of a network that no backbone is the same as; None where it says nothing."""
    plain = without_library(typed.partition(".")[0]) or typed
    for key in (fold(typed), fold(without_library(typed)), fold(plain)):
        alias = table().get(key)
        if alias is not None:
            return None if alias.whose else alias
    return None
