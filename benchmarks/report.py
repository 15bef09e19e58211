"""Writes what the other scripts measured into README.md, its translation and pages in docs/.

    python benchmarks/report.py

Reads the shipped configs, and the tables in `results/`. These are what `models.py`, `reference.py`, `roofline.py`,
`training.py`, `growth.py` and `transfer.py` write when they are run without options; `learn.csv` of `learn.py`, and of
the drawn shapes as `learn-shapes.csv`, with `--optimizer SGD` as `learn-shapes-sgd.csv`; `transfer.csv` of `transfer.py
--labelled 16 64 --classified --families starnet` as `transfer-labelled.csv`; and on a GPU those of `training.py
--device 0 --imgsz 640 --batch 16` and `yolo-backbones bench ... --device 0 --imgsz 640 --batch 1` and 32. Each table
says which machine it is from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from measure import RESULTS
from models import MODELS as COMPARED
from models import REPEATS, scaled

from yolo_backbones import catalogue, configs
from yolo_backbones.families import families as papers

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md", ROOT / "README.zh-CN.md", DOCS / "performance.md", DOCS / "compare.md", DOCS / "align.md",
    ROOT / "benchmarks" / "README.md",
)  # fmt: skip
END = "<!-- end -->"
# Parameters and GFLOPs of stock's that each config has in its comments.
STOCK = re.compile(r"; stock YOLOv8[ns]: ([\d.]+)M, ([\d.]+)$", re.MULTILINE)
BACKENDS = {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}

Row = dict[str, str]


def read(name: str) -> list[Row]:
    """Return the rows of a table in `results/`."""
    with open(RESULTS / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def families() -> Iterator[str]:
    """Return each family's detector and stock, at n and s: what their configs say of them, and what they learned."""
    learned = {row["model"]: row for row in read("learn")}
    yield "| config | blocks | parameters n / s (M) | GFLOPs n / s | mAP50-95 n |"
    yield "|---|---|---|---|---|"
    for family in papers().values():
        own = [catalogue.scales(family.name)[scale] for scale in "ns"]
        name = f"`yolov8-{family.name}.yaml`" + "".join(f", also `-{alias}`" for alias in _aliases(family.name))
        yield _row(name, family.summary, own, learned[f"yolov8n-{family.name}"])
    any_config = configs.models()[f"yolov8-{next(iter(papers()))}"].read_text(encoding="utf-8")
    stock = [tuple(map(float, found)) for found in STOCK.findall(any_config)[:2]]
    yield _row("`yolov8.yaml`, stock", "C2f", stock, learned["yolov8n"])


def _aliases(family: str) -> list[str]:
    return [entry.name for entry in catalogue.entries().values() if entry.same_as == family]


def _row(name: str, blocks: str, figures: Sequence[tuple[float, float]], learned: Row) -> str:
    parameters, gflops = (" / ".join(format) for format in zip(*((f"{p:.2f}", f"{g:.1f}") for p, g in figures)))
    score = f"{_score(learned)} ({float(learned['ratio']):.2f})"
    return f"| {name} | {blocks} | {parameters} | {gflops} | {score} |"


def models() -> Iterator[str]:
    """Latency at each letter, of stock YOLOv8's."""
    rows = read("models")
    found = {(row["backend"], row["model"]): row for row in rows}
    yield f"{rows[0]['machine']}."
    yield ""
    yield "| | " + " | ".join(f"{title}, {' / '.join(REPEATS)}" for title in BACKENDS.values()) + " |"
    yield "|---|" + "---|" * len(BACKENDS)
    for model in (model for model in COMPARED if ("torch", scaled(model, "n")) in found):
        cells = [" / ".join(f"{float(found[b, scaled(model, s)]['ratio']):.2f}" for s in REPEATS) for b in BACKENDS]
        yield f"| `{model}` | " + " | ".join(cells) + " |"
    stock = [
        " / ".join(f"{float(found[b, scaled(COMPARED[0], s)]['median_ms']):.0f}" for s in REPEATS) for b in BACKENDS
    ]
    yield "| stock, milliseconds | " + " | ".join(stock) + " |"


def training() -> Iterator[str]:
    """Training steps, of stock YOLOv8n's."""
    rows = read("training-cpu")
    breaks = {row["model"]: row["graph_breaks"] for row in read("compile")}
    yield f"{rows[0]['machine']}."
    yield ""
    yield "| | images a second | step | memory | images a second, `channels_last` | step | graph breaks, compiled |"
    yield "|---|---|---|---|---|---|---|"
    for name in breaks:
        usual, last = (next(row for row in rows if row["model"] == name and row["layout"] == layout)
                       for layout in ("contiguous", "channels_last"))  # fmt: skip
        yield (
            f"| `{name}` | {usual['images_per_s']} | {float(usual['ratio']):.2f} | {float(usual['memory_ratio']):.2f}"
            f" | {last['images_per_s']} | {float(last['ratio']):.2f} | {breaks[name]} |"
        )


def reference() -> Iterator[str]:
    """Stages against their reference."""
    rows = read("reference-cpu")
    yield f"{rows[0]['machine']}."
    yield ""
    yield (
        "| stage | channels x pixels | forward, ms | forward | its quartiles | memory"
        " | training | its quartiles | memory |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['family']}, {row['scale']}, {row['level']} | {row['channels']} x {row['pixels']}²"
            f" | {float(row['forward_ms']):.2f} | {_ratio(row, 'forward')} | {float(row['forward_memory']):.2f}"
            f" | {_ratio(row, 'training')} | {float(row['training_memory']):.2f} |"
        )


def _ratio(row: Row, name: str) -> str:
    median, low, high = (float(row[name + part]) for part in ("", "_low", "_high"))
    return f"{median:.2f} | {low:.2f}-{high:.2f}"


def roofline() -> Iterator[str]:
    """Return how far each stage is from what bounds it."""
    rows = read("roofline-cpu")
    yield f"{rows[0]['machine']}."
    yield ""
    yield "| stage | GFLOP | MB moved | bound, ms | of it by memory | took, ms | times the bound |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['family']}, {row['scale']}, {row['level']} | {float(row['GFLOP']):.3f} | {float(row['MB']):.1f}"
            f" | {float(row['bound_ms']):.2f} | {float(row['by_memory']):.0%} | {float(row['ms']):.2f}"
            f" | {float(row['of_bound']):.1f} |"
        )


def growth() -> Iterator[str]:
    """Latency by image size and batch."""
    rows = read("growth-cpu")
    names = list(dict.fromkeys(row["model"] for row in rows))
    yield f"{rows[0]['machine']}."
    yield ""
    yield f"| pixels | batch | `{names[0]}`, ms | " + " | ".join(f"`{name}`" for name in names[1:]) + " |"
    yield "|---|---|---|" + "---|" * len(names[1:])
    for start in range(0, len(rows), len(names)):
        stock, *others = rows[start : start + len(names)]
        cells = " | ".join(f"{float(row['ratio']):.2f}" for row in others)
        yield f"| {stock['imgsz']} | {stock['batch']} | {float(stock['ms']):.1f} | {cells} |"


def gpu() -> Iterator[str]:
    """Latency and training steps on a GPU, of stock YOLOv8n's."""
    latency = {(row["model"], row["batch"]): row for row in read("models-cuda")}
    steps = {(row["model"], row["layout"]): row for row in read("training-cuda") if row["compiled"] == "False"}
    names = list(dict.fromkeys(model for model, _ in latency))
    stock, batches = names[0], list(dict.fromkeys(batch for _, batch in latency))
    yield f"{next(iter(steps.values()))['machine']}, 640 px, `torch` in single precision; training in mixed precision."
    yield ""
    yield "| | " + " | ".join(f"batch {batch}" for batch in batches) + " | training step | `channels_last` | memory |"
    yield "|---|" + "---|" * (len(batches) + 3)
    for name in names:
        times = [f"{float(latency[name, batch]['ratio']):.2f}" for batch in batches]
        times += [f"{float(steps[name, layout]['ratio']):.2f}" for layout in ("contiguous", "channels_last")]
        memory = float(steps[name, "contiguous"]["memory_ratio"])
        yield f"| `{name}` | " + " | ".join(times) + f" | {memory:.2f} |"
    milliseconds = [f"{float(latency[stock, batch]['median_ms']):.1f}" for batch in batches]
    milliseconds += [f"{float(steps[stock, layout]['step_ms']):.1f}" for layout in ("contiguous", "channels_last")]
    yield (
        "| stock, milliseconds | " + " | ".join(milliseconds) + f" | {float(steps[stock, 'contiguous']['MB']):.0f} MB |"
    )


def compared() -> Iterator[str]:
    """Return the table that `yolo-backbones compare` wrote when `learn.py` called it."""
    yield from (RESULTS / "learn.md").read_text(encoding="utf-8").splitlines()


def learned_shapes() -> Iterator[str]:
    """Return what each model learned of drawn shapes with Ultralytics' choice and with SGD, from `learn.py`."""
    yield "| | `optimizer=auto`: AdamW at 0.0011 | of stock | `optimizer=SGD lr0=0.01` | of stock |"
    yield "|---|---|---|---|---|"
    sgd = {row["model"]: row for row in read("learn-shapes-sgd")}
    for row in read("learn-shapes"):
        cells = [f"{_score(one)} | {float(one['ratio']):.2f}" for one in (row, sgd[row["model"]])]
        yield f"| `{row['model']}` | {' | '.join(cells)} |"


def transfer() -> Iterator[str]:
    """Return what each start is worth on few labelled pictures, of stock fine-tuned."""
    rows = read("transfer")
    found = {(row["target"], row["model"], row["start"]): row for row in rows}
    target = rows[-1]["target"]
    yield "| | before a label, source | from scratch | neck and head | aligned | of stock fine-tuned |"
    yield "|---|---|---|---|---|---|"
    for model in dict.fromkeys(row["model"] for row in rows if row["start"] == "aligned"):
        starts = [found[target, model, start] for start in ("from scratch", "neck and head", "aligned")]
        cells = [_score(found["source", model, "aligned"]), *map(_score, starts), f"{float(starts[-1]['ratio']):.2f}"]
        yield f"| `{model}` | " + " | ".join(cells) + " |"
    cells = [_score(found[name, "yolov8n", "from scratch"]) for name in ("source", target)]
    for start in ("fine-tuned", "fine-tuned small"):
        row = found[target, "yolov8n", start]
        score = f"{_score(row)} | {float(row['ratio']):.2f}"
        yield f"| `yolov8n`, stock, {start} | " + " | ".join(cells) + f" | | {score} |"


def labelled() -> Iterator[str]:
    """Return what each start is worth by the number of labelled pictures, for the family that was measured so."""
    found = {(row["target"], row["model"], row["start"]): row for row in read("transfer-labelled")}
    targets = [target for target in dict.fromkeys(target for target, _, _ in found) if target != "source"]
    yield "| | " + " | ".join(f"{target.removeprefix('target')} pictures" for target in targets) + " |"
    yield "|---|" + "---|" * len(targets)
    for model, start in dict.fromkeys((model, start) for target, model, start in found if target != "source"):
        rows = [found[target, model, start] for target in targets]
        cells = [f"{_score(row)} ({float(row['ratio']):.2f})" for row in rows]
        yield f"| `{model}`, {start} | " + " | ".join(cells) + " |"


def _score(row: Row) -> str:
    spread = f" ± {float(row['sd']):.3f}" if row["sd"] not in ("", "nan") else ""  # of one seed
    return f"{float(row['mAP50-95']):.3f}{spread}"


TABLES: Sequence[Callable[[], Iterator[str]]] = (
    families, models, training, reference, roofline, growth, gpu, compared, learned_shapes, transfer, labelled,
)  # fmt: skip


def start(table: Callable[[], Iterator[str]]) -> str:
    """Return the comment that a page has in front of a table."""
    return f"<!-- written by benchmarks/report.py: {table.__name__} -->"


def filled(text: str) -> str:
    """Return a page with its tables as they are now."""
    for table in TABLES:
        if start(table) in text:
            before, rest = text.split(start(table))
            lines = "\n".join(table())
            text = f"{before}{start(table)}\n{lines}\n{END}{rest.split(END, 1)[1]}"
    return text


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
