"""The configs that come with the package, and how a name finds one.

`yolov8n-starnet.yaml` is the file `yolov8-starnet.yaml` at scale `n`, from any directory. A file on disk wins over a
shipped one, and so does a name that Ultralytics itself has.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

_PACKAGE = Path(__file__).parent
# In a wheel the configs lie in the package; in a checkout beside it.
CFG = _PACKAGE / "cfg" if (_PACKAGE / "cfg").is_dir() else _PACKAGE.parent / "cfg"

# Other names of the shipped configs.
ALIASES = {"yolov8-sknet": "yolov8-skconv"}

# The scale letter follows the version's digits: yolov8n-starnet, yolo11s. Only the file's name is searched, never its
# folder: "v2m/yolov8-starnet.yaml" has no letter.
_SCALE = re.compile(r"^(yolov?\d+)([nslmx])(?=$|[-_.])")


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


def find_model(path: Path) -> Path | None:
    """The file to read for a model's name or path; None leaves it to Ultralytics.

    Args:
        path: as the user gave it, with or without folder and scale letter.
    """
    if path.suffix not in {".yaml", ".yml"} or path.exists():
        return None
    plain = without_scale(path)
    if plain.exists():  # Ultralytics finds it as well, unless a folder's name looks like a version and a scale
        return plain
    return models().get(plain.stem)


def find_dataset(path: Path) -> Path | None:
    """The shipped file for a data set's name or path; None leaves it to Ultralytics."""
    return None if path.suffix != ".yaml" or path.exists() else datasets().get(path.stem)


def nearest(name: str, known: list[str], most: int = 3) -> list[str]:
    """The known names most like `name`, best first."""
    return difflib.get_close_matches(name, known, n=most, cutoff=0.6)
