"""The `yolo-backbones` command: which backbones there are, a config to go on from, and whether all is well."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from . import __version__, catalogue
from .catalogue import Entry

# Imported here is what answers at once. composition.py and doctor.py import torch, and are imported by their commands.

PROGRAM = "yolo-backbones"

_SAM = re.compile(r"sam_|sam2_|sam2\.1_")  # as in ultralytics/cfg/__init__.py

app = typer.Typer(
    name=PROGRAM,
    help="Other backbones for Ultralytics YOLO.",
    epilog="yolo train model=yolov8n-starnet_s1.yaml data=coco8.yaml",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Source(str, enum.Enum):
    """Whose backbones to list."""

    OWN = "own"
    TIMM = "timm"


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command, and says in one line what went wrong, if something does."""
    try:
        code = app(args, prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        _fail("aborted")
    except Exception as error:
        # What typer finds wrong with the arguments. The class is click's in some of its releases, its own in others.
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message().replace("Value error, ", "").rstrip(".?")
        _fail(f"{message}; see {PROGRAM} --help", code=2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    """For what the user can put right; anything else is a defect, and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        _fail(str(error) or type(error).__name__)


def _console() -> Console:
    # A pipe has no width: what reads it wants whole lines, unless the user says otherwise.
    unbounded = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(highlight=False, width=10_000 if unbounded else None)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Other backbones for Ultralytics YOLO."""
    if version:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())


def complete_backbone(incomplete: str) -> list[str]:
    """The backbones that a shell may complete to; with their tags once the dot is typed."""
    names = (
        name for entry in catalogue.entries().values() for name in (entry.names if "." in incomplete else [entry.name])
    )
    return [name for name in names if name.startswith(incomplete)]


def complete_base(incomplete: str) -> list[str]:
    """Ultralytics' own configs, found without importing it; with the scale letters once the version is typed."""
    spec = importlib.util.find_spec("ultralytics")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    names = set()
    for file in (file for folder in folders for file in Path(folder, "cfg", "models").rglob("*.yaml")):
        names.add(file.stem)
        version = re.match(r"yolo(?:e-)?v?\d+(?=-|$)", file.stem)
        if version:
            names |= {f"{version[0]}{letter}{file.stem[version.end() :]}" for letter in "nslmx"}
    return sorted(name for name in names if name.startswith(incomplete))


def _number(text: str) -> int:
    """10M, 1.5m, 800k, 10_000_000 -> a number."""
    match = re.fullmatch(r"([\d_]*\.?\d+)([kmb]?)", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no number of parameters; write it as 10M or 10000000")
    return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2]])


# ---------------------------------------------------------------------------------------------------------------- list


@app.command("list")
def list_backbones(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="Part of a name, or a name with wildcards: 'convnext*'.",
            autocompletion=complete_backbone,
        ),
    ] = "",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only those with published weights.")] = False,
    max_params: Annotated[
        str, typer.Option("--max-params", metavar="NUMBER", help="Only those with at most so many parameters: 10M.")
    ] = "",
    source: Annotated[
        Source | None, typer.Option(help="This package's own families and networks, or timm's.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the backbones."""
    most = _number(max_params) if max_params else None
    with _told_in_one_line():
        everything = catalogue.entries().values()
    found = [entry for entry in everything if _matches(entry, pattern)]
    kept = [
        entry
        for entry in found
        if (entry.tags or not pretrained)
        and (most is None or (entry.parameters is not None and entry.parameters <= most))
        and (source is None or (entry.source == "timm") == (source is Source.TIMM))
    ]
    if as_json:
        print(json.dumps([_as_json(entry) for entry in kept], indent=1))
    elif kept:
        _print_list(kept)
    elif found:
        _fail(f"the options leave none of the {len(found)} backbones that match; drop one of them")
    else:
        near = catalogue.nearest(re.sub(r"[*?\[\]]", "", pattern))
        hint = f"did you mean {' or '.join(near)}?" if near else f"`{PROGRAM} list` shows all"
        _fail(f"no backbone matches {pattern!r}; {hint}")


def _matches(entry: Entry, pattern: str) -> bool:
    pattern = pattern.lower()
    if any(character in pattern for character in "*?["):
        return any(fnmatch.fnmatchcase(name.lower(), pattern) for name in entry.names)
    return any(pattern in name.lower() for name in entry.names)


def _as_json(entry: Entry) -> dict[str, Any]:
    return dataclasses.asdict(entry) | {"url": entry.url}


def _print_list(entries: Sequence[Entry]) -> None:
    console = _console()
    # In the order in which they matter, as far as they fit: a name that is cut off cannot be copied.
    columns = {
        "name": [entry.name for entry in entries],
        "params": [_millions(entry) for entry in entries],
        "GFLOPs": ["" if entry.gflops is None else f"{entry.gflops:g}" for entry in entries],
        "top-1": ["" if entry.top1 is None else f"{entry.top1:.1f}" for entry in entries],
        "weights": [_tags_in_short(entry) for entry in entries],
        "strides": [_spaced(entry.strides) for entry in entries],
        "channels": [_spaced(entry.channels) or _note(entry) for entry in entries],
    }
    widths = {title: max(map(len, [title, *cells])) for title, cells in columns.items() if any(cells)}
    shown: list[str] = []
    for title in widths:
        if not shown or sum(widths[other] + 2 for other in [*shown, title]) - 2 <= console.width:
            shown.append(title)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in shown:
        justify: JustifyMethod = "right" if title in {"params", "GFLOPs", "top-1"} else "left"
        table.add_column(title, justify=justify, no_wrap=True)
    # One row of columns, not a row a backbone, which takes rich a second.
    table.add_row(*(Text("\n".join(columns[title])) for title in shown))
    console.width = max(console.width, widths[shown[0]])
    console.print(table)
    left_out = [title for title in widths if title not in shown]
    count = f"{len(entries)} backbone" + "s" * (len(entries) != 1)
    notes = [f"{count}; parameters of the backbone, GFLOPs at 640 px, ImageNet top-1 of our own"]
    if left_out:
        notes.append(f"not shown for want of room: {', '.join(left_out)}; `{PROGRAM} info NAME` has them")
    # Not on stdout, which may go into another program.
    Console(stderr=True, highlight=False, soft_wrap=True).print("\n" + "\n".join(notes), style="dim")


def _millions(entry: Entry) -> str:
    if entry.parameters is None:
        return "scaled" if entry.source == "family" else ""
    return f"{entry.parameters / 1e6:.2f}M"


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _tags_in_short(entry: Entry) -> str:
    if entry.tags:
        return entry.tags[0] + (f" +{len(entry.tags) - 1}" if entry.tags[1:] else "")
    return ""


def _note(entry: Entry) -> str:
    if entry.same_as:
        return f"same as {entry.same_as}"
    if entry.classifies_only:
        return "for -cls alone"
    return "the detector's" if entry.source == "family" else entry.reason


# ---------------------------------------------------------------------------------------------------------------- info


@app.command()
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A backbone, with or without a tag: starnet_s1.in1k.", autocompletion=complete_backbone
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what is known of a backbone, and how to use it."""
    with _told_in_one_line():
        entry = catalogue.find(name)
    tag = catalogue.split(name)[1]
    if tag and entry.source == "timm" and tag != entry.tags[0]:
        entry = dataclasses.replace(entry, licence=_licence(name))
    if as_json:
        about = {"tag": tag or None, "weights": _origin(entry), "commands": _commands(entry, tag)}
        print(json.dumps(_as_json(entry) | about, indent=1))
        return
    console = _console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in _facts(entry, tag):
        table.add_row(title, Text(value))
    console.print(table)
    commands = _commands(entry, tag)
    if commands:
        console.print()
    for command in commands:
        console.print(Text(command), soft_wrap=True)  # a command broken in two cannot be copied


def _facts(entry: Entry, tag: str) -> Iterator[tuple[str, str]]:
    yield "name", entry.name + (f" (another name of {entry.same_as})" if entry.same_as else "")
    if entry.source == "family":
        yield "kind", "family, scaled by the detector's letter"
        for letter, (parameters, gflops) in catalogue.scales(entry.name).items():
            yield f"yolov8{letter}-{entry.name}", f"{parameters:g}M parameters, {gflops:g} GFLOPs, the whole detector"
    else:
        own = "published network, from this package's own blocks"
        yield "kind", own if entry.source == "own" else "timm architecture"
    if entry.reason:
        yield "only with -cls" if entry.classifies_only else "not usable", entry.reason
    # The table has it as it is trained.
    merged = ", before fuse() merges its layers" if _is_vanillanet(entry) else ""
    if entry.parameters is not None:
        yield "parameters", f"{_millions(entry)}, without classifier{merged}"
    if entry.gflops is not None:
        yield "GFLOPs", f"{entry.gflops:g} at 640 px{merged}"
    if entry.strides:
        yield "strides", _spaced(entry.strides)
        yield "channels", _spaced(entry.channels) or "as the detector's own"
    if entry.strides and entry.source != "family":
        through = "maps from a simple feature pyramid" if entry.pyramid else "its own maps"
        yield "strides 8, 16, 32", f"{through}, one for each"
        size = f"{entry.imgsz} px inside, whatever the image's" if entry.imgsz else "any multiple of 32"
        yield "image size", size
    if entry.top1 is not None:
        yield "ImageNet top-1", f"{entry.top1:g} %, as published"
    if entry.url:
        yield "paper", entry.url
    if entry.licence:
        others = ""
        if entry.tags[1:] and not tag:
            others = f", of the default weights; others may have another, see `{PROGRAM} info {entry.name}.TAG`"
        yield "licence", entry.licence + (others or ", of the weights")
    if entry.tags:
        for i, known in enumerate(entry.tags):
            marks = ["default"] * (i == 0) + ["asked for"] * (known == tag)
            yield "" if i else "weights", f"{entry.name}.{known}" + (f" ({', '.join(marks)})" if marks else "")
        yield "", f"from {_origin(entry)}; downloaded once, when a name asks for them"
    else:
        yield "weights", "none published; it starts from random ones"


def _licence(name: str) -> str:
    """The licence of timm's weights under a tag; the table has that of the default ones."""
    from timm.models import get_pretrained_cfg  # takes seconds

    return str(getattr(get_pretrained_cfg(name), "license", None) or "")


def _is_vanillanet(entry: Entry) -> bool:
    return entry.source == "own" and entry.name.startswith("vanillanet")


def _origin(entry: Entry) -> str | None:
    """Where published weights come from."""
    if not entry.tags:
        return None
    if _is_vanillanet(entry):
        return "the authors' releases, https://github.com/huawei-noah/VanillaNet/releases"
    return "the Hugging Face hub, or for a few the address that timm has"


def _commands(entry: Entry, tag: str) -> list[str]:
    """How to use it, to be copied."""
    if entry.reason and not entry.classifies_only:
        return []
    token = f"{entry.name}.{tag}" if tag else entry.name
    pretrained = f"{entry.name}.{entry.tags[0]}" if entry.tags and not tag else ""
    base, end, data = ("yolov8n-cls", "-cls", "mnist160") if entry.classifies_only else ("yolov8n", "", "coco8.yaml")
    if _taken_for_sam(token):
        return [
            f"{PROGRAM} new {base} {token}  # the YAML, under a name that `yolo` does not take for Segment Anything",
            f"yolo train model={_not_for_sam(f'yolov8n-{token}{end}.yaml')} data={data}  # that file",
        ]
    commands = [f"yolo train model=yolov8n-{token}{end}.yaml data={data}"]
    if pretrained:
        commands.append(f"yolo train model=yolov8n-{pretrained}{end}.yaml data={data}  # pretrained")
    if not entry.classifies_only:
        others = "# or any other base, scale and task"
        commands.append(f"yolo train model=yolo11s-{token}-seg.yaml data=coco8-seg.yaml  {others}")
    return [*commands, f"{PROGRAM} new {base} {token}  # the YAML, to go on editing"]


def _taken_for_sam(name: str) -> bool:
    """Whether the `yolo` command, which goes by the file's name, takes a model for Segment Anything."""
    return _SAM.search(name.lower()) is not None


def _not_for_sam(name: str) -> str:
    return _SAM.sub(lambda mark: mark[0].replace("_", ""), name)


# ----------------------------------------------------------------------------------------------------------------- new


@app.command()
def new(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE", help="A detector of Ultralytics: yolov8n, yolo11s-seg.", autocompletion=complete_base
        ),
    ],
    backbone: Annotated[
        str,
        typer.Argument(metavar="BACKBONE", help="A backbone, with or without a tag.", autocompletion=complete_backbone),
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write it; - prints it.", show_default="by name"),
    ] = "",
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Weights from a file, in place of a tag's.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the YAML of a detector with another backbone, to go on editing."""
    if output not in {"", "-"}:
        _check_file(Path(output), force)  # before torch is imported
    # Ultralytics logs to stdout, and the YAML may go there.
    with _told_in_one_line(), contextlib.redirect_stdout(sys.stderr):
        from . import write_yaml
        from .composition import compose, levels

        config = compose(base, backbone, weights=weights)
        default = _not_for_sam(Path(config["yaml_file"]).name)
        name = default if output in {"", "-"} else output
        comment = _header(config, base, backbone, name, weights)
        text = write_yaml.dumps(config, comment, levels(config))
    if output == "-":
        print(text, end="")
        return
    _check_file(Path(name), force)
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"{name} cannot be written: {error.strerror}; choose another place with -o")
    for line in comment.splitlines()[1 : 3 if config.get("scales") else 2]:
        print(line)


def _check_file(file: Path, force: bool) -> None:
    """Ends the command where a model's YAML cannot be written, or not be used."""
    if os.path.isdir(file):  # Path.is_dir raises where a name is too long
        _fail(f"{file} is a folder; name a file in it with -o")
    if file.suffix not in {".yaml", ".yml"}:
        _fail(f"{file} would not be read as a model's YAML; give it a name that ends in .yaml")
    if _taken_for_sam(file.stem):
        way_out = f"such as {_not_for_sam(file.name)}"
        _fail(f"`yolo` takes a model called {file.name} for Segment Anything; choose another name, {way_out}")
    if not os.path.isdir(file.parent):
        _fail(f"there is no folder {file.parent}; make it first, or choose another place with -o")
    if os.path.exists(file) and not force:
        _fail(f"{file} exists already; give --force to overwrite it, or another name with -o")


def _header(config: dict[str, Any], base: str, backbone: str, name: str, weights: Path | None) -> str:
    call = shlex.join([PROGRAM, "new", base, backbone, *(["--weights", str(weights)] if weights else [])])
    lines = [
        f"{base.removesuffix('.yaml')} with backbone {backbone}. Written by {PROGRAM} {__version__}: {call}",
        f"yolo train model={name} data={_data(config['head'][-1][2])}",
    ]
    if config.get("scales"):
        lines.append(_about_scale(name, config["scales"]))
    modules = {row[2] for row in config["backbone"]}
    if "Network" in modules:
        lines.append("Row 0 is the whole backbone; its maps leave at the FeatureMap rows, where the base's did.")
    if "nn.Identity" in modules:
        lines.append("nn.Identity keeps the numbers of the rows behind it, which the head refers to.")
    return "\n".join(lines)


def _data(head: str) -> str:
    """A small data set for what a head learns."""
    if head == "Classify":
        return "mnist160"
    tasks = {"Semantic": "cityscapes8", "Segment": "coco8-seg", "Pose": "coco8-pose", "OBB": "dota8", "Depth": "depth8"}
    return next((f"{data}.yaml" for task, data in tasks.items() if task in head), "coco8.yaml")


def _about_scale(name: str, scales: dict[str, Any]) -> str:
    """Which scale a file of that name has: its letter's or, without one, the first of scales."""
    meant = next(iter(scales))
    letter = re.search(r"yolo(?:e-)?v?\d+([nslmx])", Path(name).stem)
    if letter is None:
        return f"Scale {meant}: the first of scales, since the file's name has no letter behind the version."
    if letter[1] == meant:
        return f"Scale {meant}, by the letter in the file's name; without one, the first of scales counts."
    if letter[1] not in scales:
        raise ValueError(
            f"{name} asks for scale {letter[1]}, which is not among {', '.join(scales)}; choose another name with -o"
        )
    return f"Scale {letter[1]}, by the letter in the file's name, which may be any of {', '.join(scales)}."


# --------------------------------------------------------------------------------------------------------------- bench


@app.command()
def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="What YOLO() takes: yolov8n-starnet.yaml, best.pt. Ratios: to the first."
        ),
    ],
    imgsz: Annotated[int, typer.Option(help="Height and width of the image.")] = 640,
    batch: Annotated[int, typer.Option(help="Images in one forward.")] = 1,
    backend: Annotated[str, typer.Option(metavar="NAMES", help="Of torch,onnx,openvino.")] = "torch",
    device: Annotated[str, typer.Option(help="cpu, or the number of a GPU.")] = "cpu",
    data: Annotated[
        str, typer.Option(metavar="YAML", help="Validate checkpoints on it, for their mAP.", show_default=False)
    ] = "",
    repeats: Annotated[int, typer.Option(help="Forwards that count.")] = 20,
    threads: Annotated[int | None, typer.Option(help="On the CPU.", show_default="physical cores")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For bench.csv, .json and .png.")] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop what DIR holds, instead of going on from it.")] = False,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For loading a model, its export, or a forward.")
    ] = 600,
) -> None:
    """Compare models: latency, memory, parameters, mAP.

    Times the network's forward alone, without pre- and postprocessing, on one random image in 0..1. All models of a
    backend take turns, each in a process of its own. A run that was stopped goes on where it was.
    """
    with _told_in_one_line():
        from . import bench as benchmark
        from .bench import table

        used = benchmark.cores() if threads is None else threads
        settings = benchmark.Settings(imgsz=imgsz, batch=batch, device=device, threads=used, repeats=repeats)
        try:
            rows = benchmark.measure(models, backend.split(","), settings, out, data, fresh, time_limit)
        except KeyboardInterrupt:
            _fail(f"stopped; {out} holds what is done, and the same command goes on from there", code=130)
    console = _console()
    console.print(table.table(rows))
    for complaint in table.complaints(rows):
        console.print(Text(complaint, style="red"), soft_wrap=True)
    print(f"\n{out / 'bench.csv'}, bench.json, bench.png")
    raise typer.Exit(1 if any(row.error for row in rows) else 0)


# -------------------------------------------------------------------------------------------------------------- doctor


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Look whether the plugin works here, and say what to do if not."""
    from . import doctor as examination

    waiting = Console(stderr=True)
    with waiting.status("importing Ultralytics, here and in other processes"):
        checks = examination.examine()
    well = all(check.ok for check in checks)
    if as_json:
        found = [dataclasses.asdict(check) | {"ok": check.ok} for check in checks]
        print(json.dumps({"ok": well, "checks": found}, indent=1))
    else:
        _print_checks(checks)
    raise typer.Exit(0 if well else 1)


def _print_checks(checks: Sequence[Any]) -> None:
    console = _console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        mark = Text("ok", style="green") if check.ok else Text("NOT", style="bold red")
        table.add_row(mark, Text(check.name), Text(check.value))
    console.print(table)
    to_do = list(dict.fromkeys(check.advice for check in checks if not check.ok))
    console.print("\nAll is right." if not to_do else "\nWhat to do:")
    for advice in to_do:
        console.print(Text(f"- {advice}"), soft_wrap=True)


if __name__ == "__main__":
    main()
