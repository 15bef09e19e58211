"""Writes the table of docs/export.md: of which nodes the ONNX files of the families and of stock YOLOv8n consist.

    python benchmarks/nodes.py

The families' own nodes and those of the detector around them are counted together.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import nn
from ultralytics import YOLO

from yolo_backbones import configs

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
START, END = "<!-- written by benchmarks/nodes.py -->", "<!-- end -->"
STOCK = "yolov8n"
MODELS = [STOCK, *sorted({path.stem.replace("yolov8", STOCK) for path in configs.models().values()})]


def counts(model: str, dynamic: bool = False) -> tuple[Counter[str], Counter[str]]:
    """Nodes of each type in the file that `export(format="onnx")` writes: without `simplify`, and with it."""
    torch.manual_seed(0)
    yolo = YOLO(f"{model}.yaml")
    for parameter in yolo.model.parameters():
        nn.init.normal_(parameter)  # torch writes equal tensors once, and an Identity for each further one
    with tempfile.TemporaryDirectory() as folder:
        yolo.save(Path(folder) / "model.pt")
        file = YOLO(Path(folder) / "model.pt").export(format="onnx", imgsz=64, dynamic=dynamic, simplify=False)
        graph = onnx.load(file)
    return _types(graph), _types(onnxslim.slim(graph))


def _types(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def table(fixed: Mapping[str, Counter[str]], dynamic: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Return the lines of the Markdown table."""
    yield "| node | " + " | ".join(f"`{model}`" for model in fixed) + " |"
    yield "|---|" + "---|" * len(fixed)
    for op in sorted(set().union(*fixed.values())):
        yield f"| {op} | " + " | ".join(str(count[op]) for count in fixed.values()) + " |"
    yield "| all | " + " | ".join(str(count.total()) for count in fixed.values()) + " |"
    yield "| all, dynamic | " + " | ".join(str(count.total()) for count in dynamic.values()) + " |"


def main() -> None:
    simplified = [{model: counts(model, dynamic)[1] for model in MODELS} for dynamic in (False, True)]
    lines = "\n".join(table(*simplified))
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(f"{before}{START}\n{lines}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(lines, f"written into {PAGE.relative_to(PAGE.parents[1])}", sep="\n")


if __name__ == "__main__":
    main()
