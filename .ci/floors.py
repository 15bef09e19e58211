"""Print the oldest release of each dependency that pyproject.toml allows, as constraints for pip.

    python .ci/floors.py > floors.txt
    PIP_CONSTRAINT=$PWD/floors.txt make install

A dependency without a floor gets no line: pip chooses its release.
"""

import re
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def floors(requirements: list[str]) -> list[str]:
    """Turn each `name>=version` into `name==version`."""
    found = [re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", requirement) for requirement in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match]


if __name__ == "__main__":
    print(*floors(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]), sep="\n")
