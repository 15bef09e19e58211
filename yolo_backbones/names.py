"""The grammar of models' names: `{detector}{scale}-{backbone}[.{weights}][-{rest}].yaml`.

yolov8n-starnet_s1.in1k-seg: the detector yolov8, its scale n, the backbone starnet_s1 with the weights in1k, and the
rest of the detector's name, seg. Standard library only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

SCALES = "nslmx"
SUFFIXES = {".yaml", ".yml"}

# The scale letter follows the version's digits: yolov8n-starnet, yolo11s.
_VERSION = re.compile(r"^(?P<version>yolo(?:e-)?v?\d+)(?P<letter>[a-z]?)(?=$|[-_.])(?P<rest>.*)$", re.IGNORECASE)

# Detectors whose name is two words.
_TWO_WORDS = {"yoloe", "rtdetr"}

_MOST_WORDS = 6  # of a detector's name, with some to spare: yolo11, n, seg, p6

# Parts of file names that the `yolo` command takes for Segment Anything, as in ultralytics/cfg/__init__.py.
_SAM = re.compile(r"sam_|sam2_|sam2\.1_")


class Scaled(NamedTuple):
    """A model's name taken apart at its scale letter: yolov8n-seg -> yolov8, n, -seg."""

    version: str
    letter: str
    rest: str

    @property
    def plain(self) -> str:
        """The name without the letter."""
        return self.version + self.rest

    def with_letter(self, letter: str) -> str:
        """Return the name with another letter."""
        return self.version + letter + self.rest


def scaled(stem: str) -> Scaled | None:
    """Take a name apart at its letter, which may be missing or be no scale; None for a name without a version.

    Only a file's name, never its folder: "v2m/yolov8-starnet.yaml" has no letter.
    """
    match = _VERSION.match(stem)
    return Scaled(match["version"], match["letter"], match["rest"]) if match else None


def scale(stem: str) -> str:
    """Find the scale letter of a name, in lower case; an empty string without one."""
    found = scaled(stem)
    return found.letter.lower() if found and found.letter.lower() in SCALES else ""


def without_scale(stem: str) -> str:
    """Remove the scale letter from a name: yolov8n-starnet -> yolov8-starnet."""
    found = scaled(stem)
    return found.plain if found and scale(stem) else stem


def with_scale(stem: str, letter: str) -> str:
    """Add a scale letter to a name with a version and without one: yolov8-starnet -> yolov8n-starnet."""
    found = scaled(stem)
    return found.with_letter(letter) if found and not found.letter else stem


def split_tag(backbone: str) -> tuple[str, str]:
    """Split a backbone's name from the tag of its weights, or an empty string: starnet_s1.in1k -> starnet_s1, in1k."""
    name, _, tag = backbone.partition(".")
    return name, tag


def readings(stem: str) -> Iterator[tuple[str, str]]:
    """Yield each way to read a name as detector and backbone: yolov8n-a-b -> (yolov8n-b, a), (yolov8n-a, b)."""
    words = stem.split("-")
    for i in range(1, len(words)):
        yield "-".join(words[:i] + words[i + 1 :]), words[i]


def spans(typed: str) -> Iterator[tuple[str, str]]:
    """Yield each way to read a name as a detector and words in a row, whatever separates them.

    yolov8n_resnet-18 -> (yolov8n-18, resnet), (yolov8n, resnet-18), (yolov8n-resnet, 18). A single letter behind them
    is no scale: in yolov8-starnet_s it would be the size of the backbone.
    """
    parts = re.split(r"([-_/])", typed)
    words, count = parts[::2], len(parts[::2])
    for i in range(1, min(count, _MOST_WORDS)):
        for j in range(max(i + 1, count - _MOST_WORDS), count + 1):
            if all(len(word) > 1 for word in words[j:]):
                yield "-".join(words[:i] + words[j:]), "".join(parts[2 * i : 2 * j - 1])


def join(detector: str, backbone: str) -> str:
    """Join the names of a detector and a backbone: yolov8n-seg, starnet -> yolov8n-starnet-seg."""
    words = detector.split("-")
    own = 2 if words[0] in _TWO_WORDS and len(words) > 1 else 1
    return "-".join([*words[:own], backbone, *words[own:]])


def stem_of(model: str | Path) -> str:
    """Return a model's name without folder and without a YAML's suffix; other dots belong to the name."""
    path = Path(model)
    return path.stem if path.suffix in SUFFIXES else path.name


def taken_for_sam(stem: str) -> bool:
    """Tell whether the `yolo` command takes a model of that name for Segment Anything."""
    return _SAM.search(stem.lower()) is not None


def not_for_sam(name: str) -> str:
    """Change a name so that it is not taken for Segment Anything."""
    return _SAM.sub(lambda mark: mark[0].replace("_", ""), name)


def nearest(name: str, known: Collection[str], most: int = 3, likeness: float = 0.6) -> list[str]:
    """Find the known names most like `name`, from that likeness of 0 to 1 on, best first; case does not count."""
    lower = {candidate.lower(): candidate for candidate in known}
    return [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=likeness)]
