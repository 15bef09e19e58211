"""The configs that come with the package, and how a name finds one.

`yolov8n-starnet.yaml` is the file `yolov8-starnet.yaml` at scale `n`, from any directory. A file on disk wins over a
shipped one, and so does a name that Ultralytics itself has.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).parent
# In a wheel the configs lie in the package; in a checkout beside it.
CFG = _PACKAGE / "cfg" if (_PACKAGE / "cfg").is_dir() else _PACKAGE.parent / "cfg"

SUFFIXES = {".yaml", ".yml"}

# Other names of the shipped configs.
ALIASES = {"yolov8-sknet": "yolov8-skconv"}

# The scale letter follows the version's digits: yolov8n-starnet, yolo11s. Only the file's name is searched, never its
# folder: "v2m/yolov8-starnet.yaml" has no letter.
_SCALE = re.compile(r"^(yolo(?:e-)?v?\d+)([nslmx])(?=$|[-_.])", re.IGNORECASE)


def models() -> dict[str, Path]:
    """The shipped model configs by stem without a scale letter, aliases included."""
    files = {path.stem: path for path in sorted(CFG.glob("*.yaml"))}
    return files | {alias: files[stem] for alias, stem in ALIASES.items() if stem in files}


def datasets() -> dict[str, Path]:
    """The shipped data set configs by stem."""
    return {path.stem: path for path in sorted((CFG / "datasets").glob("*.yaml"))}


def without_scale(path: Path) -> Path:
    """The path with the scale letter taken out of the file's name: `yolov8n-starnet.yaml` -> `yolov8-starnet.yaml`."""
    return path.with_name(_SCALE.sub(r"\1", path.stem) + path.suffix)


def with_scale_of(path: Path, stem: str) -> str:
    """A config's stem with the scale letter that `path` has, if any: `yolov8-starnet` -> `yolov8n-starnet`."""
    scale = _SCALE.match(path.stem)
    return re.sub(r"^(yolo(?:e-)?v?\d+)(?=-|$)", rf"\g<1>{scale[2].lower()}", stem) if scale else stem


def find_model(path: Path) -> Path | None:
    """The file to read for a model's name or path; None leaves it to Ultralytics.

    Args:
        path: as the user gave it, with or without folder and scale letter.
    """
    if path.suffix not in SUFFIXES or os.path.exists(path):  # Path.exists raises where a folder may not be read
        return None
    plain = without_scale(path)
    if os.path.exists(plain):  # Ultralytics finds it as well, unless a folder's name looks like a version and a scale
        return plain
    return models().get(plain.stem)


def find_dataset(path: Path) -> Path | None:
    """The shipped file for a data set's name or path; None leaves it to Ultralytics.

    Only for a bare name and for `cfg/datasets/`: a data set of the user's own that is not where it should be must not
    be replaced by another.
    """
    if path.suffix not in SUFFIXES or os.path.exists(path) or path.parent not in {Path(), Path("cfg/datasets")}:
        return None
    return datasets().get(path.stem)


def nearest(name: str, known: list[str], most: int = 3) -> list[str]:
    """The known names most like `name`, best first; case does not count."""
    lower = {candidate.lower(): candidate for candidate in known}
    return [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.6)]
