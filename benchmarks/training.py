"""What training each family's n model costs against stock: step, images a second, memory, graph breaks.

    python benchmarks/training.py
    python benchmarks/training.py --device 0 --imgsz 640 --batch 16 --compile

A step is the real loss on random images with random boxes, backward, and the optimizer; with mixed precision on a GPU,
as Ultralytics trains there. The models' steps are timed in turn, in both memory layouts; ratios are medians, with
quartiles, of a model's time over stock's in the same round and layout. Memory is the peak on top of weights and
optimizer state.

Then `torch.compile`, without a compiler behind it: the backbone's rows have to be one graph, or the run fails. Counted
are the graph breaks of the whole model, and how often the backbone is traced again on two further image sizes.
`--compile` times compiled steps as well, which takes a minute or two a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from measure import MODELS, device_of, folder, hardware, peak_memory, race, ratios, shown, spread, write_csv
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_BACKBONE = slice(0, 10)
_BOXES = 8  # an image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is the reference")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--compile", action="store_true", help="time compiled steps too")
    parser.add_argument("--out", type=Path, help="folder; results/ by default, runs/benchmarks/ with other options")
    args = parser.parse_args()
    device, out = device_of(args.device), folder(parser, args)
    torch.manual_seed(0)

    print(f"{hardware(device)}, {args.imgsz} px, batch {args.batch}; ratios to {Path(args.models[0]).stem}")
    print(
        f"{'model':20} {'layout':14} {'compiled':>8} {'step ms':>9} {'ratio':>18} {'images/s':>9} {'MB':>7}"
        f" {'ratio':>6}"
    )
    rows = []
    for compiled in (False, True) if args.compile else (False,):
        for layout in LAYOUTS:
            rows += steps(args.models, layout, compiled, args.imgsz, args.batch, args.repeats, device)
    write_csv(out / f"training-{device.type}.csv", rows, hardware(device))

    print(f"\n{'model':20} {'graph breaks':>12} {'backbone traced again':>22}")
    traces = []
    for name in args.models:
        row = {"model": Path(name).stem, "graph_breaks": breaks(name), "traced_again": traced_again(name)}
        traces.append(row)
        print(f"{row['model']:20} {row['graph_breaks']:12} {row['traced_again']:22}", flush=True)
    write_csv(out / "compile.csv", traces, hardware(device))


def steps(
    names: list[str], layout: str, compiled: bool, imgsz: int, batch: int, repeats: int, device: torch.device
) -> list[dict[str, object]]:
    """Time the models' training steps in turn; one row of the table each."""
    images = random_batch(imgsz, batch, device)
    images["img"] = images["img"].to(memory_format=LAYOUTS[layout])
    calls = {name: step(detector(name).to(device, memory_format=LAYOUTS[layout]), images, compiled) for name in names}
    times = race(calls, repeats, device)
    memory = {name: peak_memory(call, device) for name, call in calls.items()}
    rows = []
    for name in names:
        seconds = spread(times[name]).median
        row: dict[str, object] = {
            "model": Path(name).stem, "layout": layout, "compiled": compiled, "step_ms": round(seconds * 1e3, 1),
            **ratios(times, name, names[0]).columns("ratio"), "images_per_s": round(batch / seconds, 1),
            "MB": round(memory[name] / 1e6, 1), "memory_ratio": round(memory[name] / memory[names[0]], 3),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{row['model']:20} {layout:14} {'yes' if compiled else 'no':>8} {row['step_ms']:9.1f}"
            f" {shown(row, 'ratio'):>18} {row['images_per_s']:9.1f} {row['MB']:7.1f} {row['memory_ratio']:6.2f}",
            flush=True,
        )
    return rows


def detector(name: str) -> DetectionModel:
    """Return a freshly initialised model, in training mode, with the settings that its loss reads."""
    model = DetectionModel(name, verbose=False)
    model.args = get_cfg()
    return model.train()


def random_batch(imgsz: int, batch: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Images of noise with boxes in their middle, as Ultralytics' data loader hands them over."""
    boxes = batch * _BOXES
    return {
        "img": torch.rand(batch, 3, imgsz, imgsz, device=device),
        "batch_idx": torch.arange(batch, device=device).repeat_interleave(_BOXES).float(),
        "cls": torch.randint(0, 80, (boxes, 1), device=device).float(),
        "bboxes": torch.rand(boxes, 4, device=device) * 0.4 + 0.3,
    }


def step(model: DetectionModel, images: dict[str, torch.Tensor], compiled: bool) -> Callable[[], None]:
    """Return one training step of a model, to be called as often as one likes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    forward = torch.compile(model) if compiled else model
    device = images["img"].device.type

    def run() -> None:
        with torch.autocast(device, enabled=device == "cuda"):
            # The images' pass and the loss apart, as Ultralytics does when it compiles.
            loss, _ = model.loss(images, forward(images["img"]))
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def breaks(name: str) -> int:
    """Graph breaks in a model's pass over images in training."""
    torch._dynamo.reset()
    return torch._dynamo.explain(detector(name))(torch.rand(2, 3, 64, 64)).graph_break_count


def traced_again(name: str) -> int:
    """Return how often the backbone's rows, in one graph, are traced anew when the images' size changes twice."""
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    backbone = torch.compile(nn.Sequential(*detector(name).model[_BACKBONE]), backend=keep, fullgraph=True)
    for imgsz in (64, 96, 128):
        backbone(torch.rand(2, 3, imgsz, imgsz))
    return len(graphs) - 1


if __name__ == "__main__":
    main()
