"""Builds and runs every backbone that a name can ask for, and writes what is known of each: the package's table.

    python benchmarks/sweep.py --only "convnext*" --out /tmp/table.csv
    python benchmarks/sweep.py --jobs 4

Each network is built in a process of its own, so that a crash, a hang or a lack of memory costs one row. It is run at
640 px: on the CPU where it costs at most `--cpu-limit` GFLOPs, with random weights, and there also trained for a step
on a rectangle, after which every parameter must have a gradient; the others on the meta device, which computes shapes
alone. Rows are written as they come; `--resume` goes on where an earlier run was stopped, and tries again what failed.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import json
import multiprocessing as mp
import multiprocessing.connection
import re
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from yolo_backbones.backbones import find
from yolo_backbones.backbones.timm.features import TimmFeatures
from yolo_backbones.families import Family, Variant, families
from yolo_backbones.layers.meta import Shapes, leaves

COLUMNS = [
    "name", "source", "parameters", "gflops", "strides", "channels", "pyramid", "imgsz", "device", "top1", "tags",
    "licence", "paper", "reason", "family", "merges", "release",
]  # fmt: skip
TABLE = Path(__file__).parents[1] / "yolo_backbones" / "catalogue.csv"
WANTED = (8, 16, 32)
IMGSZ = 640
RECTANGLE = (64, 96)

OWN: dict[str, tuple[Family, Variant]] = {
    name: (family, variant) for family in families().values() for name, variant in family.variants.items()
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to try, as in a shell")
    parser.add_argument("--resume", action="store_true", help="keep the rows of networks that were built before")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--cpu-limit", type=float, default=15, metavar="GFLOPS", help="run on the CPU up to here")
    parser.add_argument("--jobs", type=int, default=1, help="networks at once, one thread each")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for one network")
    parser.add_argument("--memory", type=float, default=12, metavar="GB", help="of address space, for one network")
    args = parser.parse_args()

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    names = sorted({*timm.list_models(), *OWN})
    rows = read(args.out) if args.resume or args.only != "*" else {}
    rows = {name: row for name, row in rows.items() if name in names}
    todo = [name for name in names if fnmatch.fnmatch(name, args.only)]
    if args.resume:
        todo = [name for name in todo if not (name in rows and rows[name]["device"])]
    rows = {name: row for name, row in rows.items() if name not in todo}
    sweep(todo, rows, args)
    write(args.out, [rows[name] for name in sorted(rows)])
    summarise(rows)


def sweep(todo: Sequence[str], rows: dict[str, dict[str, str]], args: argparse.Namespace) -> None:
    """Try each name, `args.jobs` at a time, and add its row to `rows` and to the file."""
    fork = mp.get_context("fork")  # timm, imported once, is there in each process at no cost
    waiting = list(reversed(todo))
    running: dict[Any, tuple[str, Any, float]] = {}
    write(args.out, rows.values())
    with tqdm(total=len(todo), unit="network", dynamic_ncols=True) as bar, open(args.out, "a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        while waiting or running:
            while waiting and len(running) < args.jobs:
                name = waiting.pop()
                ours, theirs = fork.Pipe(duplex=False)
                process = fork.Process(target=attempt, args=(name, args.cpu_limit, args.memory, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = name, process, time.monotonic() + args.timeout
            multiprocessing.connection.wait(list(running), timeout=1)
            for pipe, (name, process, deadline) in list(running.items()):
                if not pipe.poll() and time.monotonic() < deadline:
                    continue
                row = result(name, pipe, process, deadline)
                rows[name] = row
                table.writerow(row)
                file.flush()
                del running[pipe]
                bar.update()
                bar.set_postfix_str(name)
                if row["reason"]:
                    bar.write(f"{name}: {row['reason']}")


def result(name: str, pipe: Any, process: Any, deadline: float) -> dict[str, str]:
    """Return the row that a process sent, or one that says how it ended without."""
    try:
        if not pipe.poll():
            process.kill()
            return about(name) | {"reason": "not done in time"}
        return json.loads(pipe.recv())
    except EOFError:
        process.join()
        return about(name) | {"reason": f"the process ended with {process.exitcode}"}
    finally:
        process.join()
        pipe.close()


def attempt(name: str, cpu_limit: float, memory: float, pipe: Any) -> None:
    """In a process of its own: sends the row for `name`."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory * 1e9),) * 2)
    warnings.filterwarnings("ignore")  # what networks say while they are built would tear the progress bar
    row = about(name)
    try:
        row |= own_row(name, cpu_limit) if name in OWN else timm_row(name, cpu_limit)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())[:300]
        row["reason"] = f"{type(error).__name__}: {said} ({Path(last.filename).name}:{last.lineno})"
    pipe.send(json.dumps(row))


def about(name: str) -> dict[str, str]:
    """Return the columns that need no run."""
    row = dict.fromkeys(COLUMNS, "") | {"name": name, "source": "own" if name in OWN else "timm", "pyramid": "no"}
    if name in OWN:
        family, variant = OWN[name]
        row["tags"] = " ".join(find(name).tags())
        row["top1"] = "" if variant.top1 is None else str(variant.top1)
        row["paper"] = arxiv(sys.modules[family.own_name.__module__].__doc__)
        row["family"] = family.name
        row["merges"] = "" if variant.merged is None else "yes"
        if row["tags"]:
            row["licence"] = family.release.licence if family.release else family.licence
            row["release"] = family.release.page if family.release else ""
        return row
    default = timm.get_pretrained_cfg(name)
    tags = [model.partition(".")[2] for model in timm.list_models(name, pretrained=True)]
    first = getattr(default, "tag", None)
    row["tags"] = " ".join(sorted(tags, key=lambda tag: (tag != first, tag)))
    row["licence"] = getattr(default, "license", None) or ""
    ids = getattr(default, "paper_ids", None) or ""
    ids = ids if isinstance(ids, str) else ids[0]
    row["paper"] = arxiv(f"arxiv.org/abs/{ids.partition(':')[2]}") or arxiv(sys.modules[entry(name)].__doc__)
    return row


def entry(name: str) -> str:
    """Return the module that defines a timm architecture."""
    return timm.model_entrypoint(name).__module__


def arxiv(text: str | None) -> str:
    """Return the one paper that a text names, by its arXiv number; nothing where it names several, or none."""
    found = set(re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", text or ""))
    return found.pop() if len(found) == 1 else ""


def timm_row(name: str, cpu_limit: float) -> dict[str, str]:
    """Build a timm network for strides 8, 16 and 32, and run it.

    Raises:
        Exception: whatever went wrong; a wrong shape and a parameter without a gradient count as such.
    """
    with torch.device("meta"), Shapes():
        weights = timm.create_model(name).state_dict()  # as published ones would be
        model = TimmFeatures(name, WANTED, state=weights).eval()
    gflops = cost(model, WANTED)
    row = {
        "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
        "gflops": three_digits(gflops),
        "strides": " ".join(str(stride) for stride in model.own_strides),
        "channels": " ".join(str(channels) for channels in model.own_channels),
        "pyramid": "yes" if len(list(model.pyramid.parameters())) else "no",
        "imgsz": str(model.imgsz or ""),
        "device": "meta",
    }
    forbidden = [key for key, _ in model.named_parameters() if re.search(r"(^|\.)model\.\d", key)]
    if forbidden:
        raise ValueError(f"Ultralytics' freeze would find {forbidden[0]}")
    if gflops <= cpu_limit:
        model = TimmFeatures(name, WANTED)
        run(model)
        row["device"] = "cpu"
    return row


def run(model: TimmFeatures) -> None:
    """Run a network in earnest, and train it for a step."""
    with torch.no_grad():
        check(model, model.eval()(torch.randn(1, 3, IMGSZ, IMGSZ)), (IMGSZ, IMGSZ))
        found = model(torch.randn(1, 3, *RECTANGLE))
    check(model, found, RECTANGLE)
    found = model.train()(torch.randn(2, 3, *RECTANGLE))
    check(model, found, RECTANGLE)
    sum(each.square().mean() for each in found).backward()  # type: ignore[union-attr]
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    if without:
        raise ValueError(f"{len(without)} parameters have no gradient, {without[0]} for one")


def check(model: TimmFeatures, found: Sequence[torch.Tensor], size: tuple[int, int]) -> None:
    for each, stride, channels in zip(found, WANTED, model.channels, strict=True):
        wanted = (channels, size[0] // stride, size[1] // stride)
        if each.shape[1:] != wanted:
            raise ValueError(f"a map of {tuple(each.shape[1:])} where {wanted} was promised")
        if not each.is_meta and not each.isfinite().all():
            raise ValueError(f"the map at stride {stride} is not finite at {size}")


def cost(model: TimmFeatures, strides: Sequence[int]) -> float:
    """GFLOPs at 640 px; the maps' shapes are checked on the way."""
    model.requires_grad_(False)  # the counter watches gradients, also where none are asked for, and stumbles over PiT's
    with FlopCounterMode(display=False) as counter:
        found = model(torch.empty(1, 3, IMGSZ, IMGSZ, device="meta"))
    check(model, found, (IMGSZ, IMGSZ))
    return counter.get_total_flops() / 1e9


def own_row(name: str, cpu_limit: float) -> dict[str, str]:
    """Build a published network of our own, and run it as far as its maps go, in training form.

    Raises:
        Exception: whatever went wrong.
    """
    variant = OWN[name][1]
    with torch.device("meta"):
        model: Any = variant.build().eval()
    image = torch.empty(1, 3, IMGSZ, IMGSZ, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = model.forward_features(image)
    gflops = counter.get_total_flops() / 1e9
    used = set(leaves(model.forward_features(image)))  # not the classifier
    row = {"parameters": str(sum(each.numel() for each in used)), "gflops": three_digits(gflops)}
    last = {IMGSZ / each.shape[-1]: each.shape[1] for each in found}
    if not set(WANTED) <= set(last):
        row["reason"] = "pools every image to one size, so that it has no strides: for classification alone"
        return row
    row["strides"] = " ".join(str(int(stride)) for stride in last)
    row["channels"] = " ".join(str(channels) for channels in last.values())
    row["device"] = "meta"
    if gflops <= cpu_limit:
        with torch.no_grad():
            found = variant.build().eval().forward_features(torch.randn(1, 3, IMGSZ, IMGSZ))  # type: ignore[operator]
        if not all(each.isfinite().all() for each in found):
            raise ValueError(f"its maps are not finite at {IMGSZ}")
        row["device"] = "cpu"
    return row


def three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def read(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by name; none where there is no table."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def summarise(rows: Mapping[str, Mapping[str, str]]) -> None:
    """Print how many were built, and why the others were not."""
    for source, which in (("timm", timm.list_models()), ("own", list(OWN))):
        there = [rows[name] for name in which if name in rows]
        built = [row for row in there if row["device"] and not row["reason"]]
        kinds = Counter(row["device"] for row in built)
        print(f"{source}: {len(built)} of {len(there)} built, {kinds['cpu']} run on the CPU, {kinds['meta']} on meta")
    for reason, count in Counter(row["reason"] for row in rows.values() if row["reason"]).most_common():
        names = [row["name"] for row in rows.values() if row["reason"] == reason]
        print(f"{count:5}  {reason}  ({', '.join(names[:3])})")


if __name__ == "__main__":
    main()
