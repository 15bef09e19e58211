"""The backbones that exist, and the facts about each, from a table: neither torch nor timm is imported.

`catalogue.csv` holds the published networks and every architecture of timm; `benchmarks/sweep.py` builds and runs each,
and writes it. The families are the configs that come with the package.
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from . import aliases, configs, names

FILE = Path(__file__).with_name("catalogue.csv")

_KINDS = {
    "family": "family, scaled by the detector's letter",
    "own": "published network, from this package's own blocks",
    "timm": "timm architecture",
    "user": "network of your own, registered",
}
_HUB = "the Hugging Face hub, or for a few the address that timm has"
_MOST_OFFERED = 4  # in a message
_SCALE = re.compile(r"^  ([nslmx]): .*# ([\d.]+)M parameters, ([\d.]+) GFLOPs", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A backbone and what is known of it.

    Attributes:
        name: without a tag.
        source: "family" (scaled by the detector's letter), "own" (a published network, from this package's blocks),
            "timm", or "user" (registered, and not in the table).
        parameters: of the backbone as built here, without classifier; None for a family.
        gflops: at 640x640 pixels; None for a family.
        strides: of the network's own maps, finest first.
        channels: of the same maps; empty for a family, which keeps those of the detector.
        pyramid: true if the maps at strides 8, 16 and 32 come from a simple feature pyramid, at least in part.
        imgsz: the one image size that the network runs at inside; None where any multiple of 32 works.
        device: what it was run on for this table, "cpu" or "meta"; empty for a family.
        top1: ImageNet-1k top-1 accuracy in percent as its authors published it, for our own networks.
        tags: of the published weights, the default first.
        licence: of the default weights, as their publisher names it.
        paper: arXiv number or address.
        reason: why it cannot be built; empty if it can.
        family: the family that one of our own networks is of.
        merges: true if `fuse()` merges more of it than BatchNorm, so that it has fewer parameters than the table says.
        release: the page of the authors' weights; empty where they come from the Hugging Face hub, as timm's do.
        same_as: the backbone that this is another name of; empty for most.
    """

    name: str
    source: str
    parameters: int | None = None
    gflops: float | None = None
    strides: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    pyramid: bool = False
    imgsz: int | None = None
    device: str = ""
    top1: float | None = None
    tags: tuple[str, ...] = ()
    licence: str = ""
    paper: str = ""
    reason: str = ""
    family: str = ""
    merges: bool = False
    release: str = ""
    same_as: str = ""

    @property
    def url(self) -> str:
        """The paper's address, or an empty string."""
        number = re.fullmatch(r"(?:arxiv:)?(\d{4}\.\d{4,5})", self.paper, re.IGNORECASE)
        return f"https://arxiv.org/abs/{number[1]}" if number else self.paper

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it may be called: its name, and that with each tag."""
        return (self.name, *(f"{self.name}.{tag}" for tag in self.tags))

    @property
    def scaled(self) -> bool:
        """True if the detector's letter scales it."""
        return self.source == "family"

    @property
    def kind(self) -> str:
        """Its kind, in words."""
        return _KINDS[self.source]

    @property
    def origin(self) -> str:
        """The place of its published weights; empty without any."""
        if not self.tags:
            return ""
        return f"the authors' releases, {self.release}" if self.release else _HUB

    @property
    def classifies_only(self) -> bool:
        """True if it was built, but has no maps at fixed strides: it serves classification bases alone."""
        return self.parameters is not None and not self.strides

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Entry:
        """Build the entry that a line of the table describes."""
        return cls(
            name=row["name"],
            source=row["source"],
            parameters=int(row["parameters"]) if row["parameters"] else None,
            gflops=float(row["gflops"]) if row["gflops"] else None,
            strides=tuple(map(int, row["strides"].split())),
            channels=tuple(map(int, row["channels"].split())),
            pyramid=row["pyramid"] == "yes",
            imgsz=int(row["imgsz"]) if row["imgsz"] else None,
            device=row["device"],
            top1=float(row["top1"]) if row["top1"] else None,
            tags=tuple(row["tags"].split()),
            licence=row["licence"],
            paper=row["paper"],
            reason=row["reason"],
            family=row["family"],
            merges=row["merges"] == "yes",
            release=row["release"],
        )


@functools.cache
def entries() -> dict[str, Entry]:
    """Return every backbone by name: the families, our own published networks, timm's."""
    found = {entry.name: entry for entry in map(_family_entry, sorted(configs.models())) if entry is not None}
    with open(FILE, newline="", encoding="utf-8") as file:
        rows = [Entry.from_row(row) for row in csv.DictReader(file)]
    for entry in sorted(rows, key=lambda entry: entry.source != "own"):  # stable: keeps the table's order within each
        found.setdefault(entry.name, entry)
    return found


def _family_entry(stem: str) -> Entry | None:
    if not stem.startswith(configs.FAMILY):
        return None
    file = configs.models()[stem]
    paper = re.search(r"https://arxiv\.org/abs/([\d.]+\d)", configs.head(file))
    return Entry(
        name=stem.removeprefix(configs.FAMILY),
        source="family",
        family=file.stem.removeprefix(configs.FAMILY),
        strides=(8, 16, 32),
        paper=paper[1] if paper else "",
        same_as="" if file.stem == stem else file.stem.removeprefix(configs.FAMILY),
    )


def scales(family: str) -> dict[str, tuple[float, float]]:
    """Read from a config what a family's YOLOv8 has at each letter: millions of parameters, GFLOPs."""
    text = configs.models()[f"{configs.FAMILY}{family}"].read_text(encoding="utf-8")
    return {letter: (float(parameters), float(gflops)) for letter, parameters, gflops in _SCALE.findall(text)}


def find(name: str) -> Entry:
    """Find the backbone of that name, with or without a tag.

    Raises:
        ValueError: there is none, or it has no weights under that tag; the message names the nearest.
    """
    plain, tag = names.split_tag(name)
    entry = entries().get(plain)
    if entry is None:
        raise ValueError(unknown(plain))
    if tag and tag not in entry.tags:
        raise ValueError(_no_such_tag(entry, tag))
    return entry


def meaning(typed: str) -> aliases.Meaning | None:
    """Find the one backbone that a name means, as people type them; None where there is none, or several are right."""
    name, tag = names.split_tag(typed)
    entry = entries().get(name)
    if entry is not None and (not tag or tag in entry.tags):
        return aliases.Meaning(typed)
    return _index().find(typed)


@functools.cache
def _index() -> aliases.Index:
    return aliases.Index(list(entries()))


def explained(typed: str, found: aliases.Meaning) -> str:
    """Say what a typed name means: resnet-18 is timm's resnet18."""
    name = names.split_tag(found.name)[0]
    whose = f", as {found.whose} calls it" if found.whose else ""
    owner = "timm's " if is_timm(name) else ""
    return f"{typed} is {owner}{found.name}{whose}"


def _no_such_tag(entry: Entry, tag: str) -> str:
    if entry.tags:
        near = names.nearest(tag, list(entry.tags)) or entry.tags[:3]
        choice = " or ".join(f"{entry.name}.{other}" for other in near)
        return f"{entry.name} has no published weights with the tag {tag}; choose {choice}"
    if entry.source == "family":
        sizes = [other.name for other in entries().values() if other.tags and other.family == entry.family]
        hint = f"; its published sizes: {', '.join(sizes)}" if sizes else ""
        return f"{entry.name} is a family, scaled by the detector's letter, and has no published weights{hint}"
    return f"{entry.name} has no published weights; without a tag it starts from random ones"


def is_timm(name: str) -> bool:
    """Tell whether the table has an architecture of timm's under that name."""
    entry = entries().get(name)
    return entry is not None and entry.source == "timm"


def unknown(name: str) -> str:
    """Say that no backbone has that name, and name the nearest."""
    return f"no backbone is called {name or repr(name)}; {hint(name)}"


def hint(typed: str) -> str:
    """Say which backbones may be meant by a name that is none."""
    near = nearest(typed)
    did_you_mean = f"did you mean {' or '.join(near)}?" if near else "`yolo-backbones list` shows all"
    return offer(typed) or did_you_mean


def offer(typed: str, model: str = "{}") -> str:
    """Say what to choose from where a name is that of a series, or of a network that is not here; empty for others.

    Args:
        typed: the name.
        model: how to write a backbone into what the user typed: `yolov8n-{}.yaml`.
    """
    choice = " or ".join(model.replace("{}", name) for name in nearest(typed))
    absent, several = aliases.without_equal(typed), _series(typed)
    if absent is not None:
        return f"{absent.reason}; take {choice}"
    if len(several) > 1 and meaning(typed) is None:
        plain = names.split_tag(aliases.without_library(typed))[0]
        return f"{plain} is a series of {len(several)}; take {choice}, or see `yolo-backbones list {plain}`"
    return ""


def nearest(typed: str) -> list[str]:
    """Find the backbones that a name may mean, best first: the one it means, those of its series, those like it."""
    found, absent = meaning(typed), aliases.without_equal(typed)
    if found is not None:
        return [found.name]
    if absent is not None:
        return list(absent.names)
    return _series(typed)[:_MOST_OFFERED] or names.nearest(typed, list(entries()))


def _series(typed: str) -> list[str]:
    """List the backbones of a series: families, those that begin so, those with published weights, each by size."""
    start = aliases.fold(typed)
    usable = [entries()[name] for name in _index().series(typed) if not name.startswith("test_")]
    usable = [entry for entry in usable if not entry.reason and not entry.classifies_only]

    def order(entry: Entry) -> tuple[bool, bool, bool, int]:
        rest = entry.name.removeprefix(start)  # resnetv2_50 goes on with another word, and is no plain resnet
        begins = rest != entry.name and not rest[:1].isalpha()
        return not entry.scaled, not begins, not entry.tags, entry.parameters or 0

    return [entry.name for entry in sorted(usable, key=order)]
