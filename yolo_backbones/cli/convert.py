"""`yolo-backbones convert`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__, names
from . import yaml_file
from .output import PROGRAM, told_in_one_line


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model YAML of a tutorial or fork.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Where to write it; - prints it.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a model YAML of a tutorial or fork in this package's rows."""
    if output != "-":
        yaml_file.check_file(Path(output), force)  # before torch is imported
    # Ultralytics logs to stdout, and the YAML may go there.
    with told_in_one_line(), contextlib.redirect_stdout(sys.stderr):
        from .. import dialects, model_files, write_yaml
        from ..backbones import rows  # slow
        from ..composition import levels  # as above
        from ..seam.row_checks import check_numbers

        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
        config = model_files.read(file)
        letter = names.scale(file.stem)
        check_numbers(config | {"scale": letter, "yaml_file": file.name})
        reading = _read_at_its_scales(config, letter)
        if reading is None:
            raise ValueError(
                f"{file} has no row of a dialect that is read here: its rows are Ultralytics', this package's or "
                "unknown; `yolo` says which are unknown"
            )
        converted = reading.config
        if dialects.read({key: value for key, value in converted.items() if key != dialects.MARK}) is None:
            del converted[dialects.MARK]  # its rows mean the same everywhere
        else:
            converted[dialects.MARK] = rows.OWN
        name = file.name if output == "-" else output
        call = shlex.join([PROGRAM, "convert", str(file)])
        comment = [f"{file.name} in the rows of {PROGRAM} {__version__}: {call}", *map(_sentence, reading.said)]
        text = write_yaml.dumps(converted, "\n".join([*comment, *yaml_file.usage(converted, name)]), levels(converted))
    print(reading.line, file=sys.stderr)
    if output == "-":
        print(text, end="")
    else:
        yaml_file.write(output, text, force)


def _sentence(said: str) -> str:
    return f"Read {said}."


def _read_at_its_scales(config: dict[str, Any], letter: str) -> Any:
    """Read a config at every scale that it has; keep those at which its rows are the same as at its own."""
    from .. import dialects

    scales = config.get("scales")
    own = dialects.read(config | {"scale": letter})
    if own is not None and isinstance(scales, dict) and len(scales) > 1:
        meant = letter or next(iter(scales))
        others = {other: dialects.read(config | {"scale": other}) for other in scales}
        same = {
            other
            for other, reading in others.items()
            if reading and all(reading.config[part] == own.config[part] for part in ("backbone", "head"))
        }
        own.config["scales"] = {other: scales[other] for other in scales if other in {meant, *same}}
    return own
