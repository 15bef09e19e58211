"""How latency grows with the image's size and with the batch, each family's n model and stock; a plot.

    python benchmarks/growth.py                          # within 3 minutes on 2 cores
    python benchmarks/growth.py --device 0 --repeats 30

PyTorch, after `model.fuse()`, timed in turn. Images of 160 to 1280 px one at a time, then batches of 1 to 32 at
`--imgsz`. Prints the medians of each model's time over stock's in the same round, with quartiles; the plot shows
milliseconds an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measure import MODELS, device_of, folder, hardware, race, ratios, shown, spread, write_csv
from ultralytics.nn.tasks import DetectionModel

SIZES = (160, 320, 640, 960, 1280)
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is the reference")
    parser.add_argument("--imgsz", type=int, default=320, help="of the batches' images")
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder; results/ by default, runs/benchmarks/ with other options")
    args = parser.parse_args()
    device, out = device_of(args.device), folder(parser, args)

    models = {name: DetectionModel(name, verbose=False).eval().fuse(verbose=False).to(device) for name in args.models}
    names = [Path(name).stem for name in models]
    print(f"{hardware(device)}; ms of {names[0]}, and the others' ratios to it")
    print(f"{'pixels':>6} {'batch':>5} {names[0]:>10}" + "".join(f"{name:>20}" for name in names[1:]))
    shapes = [(size, 1) for size in SIZES] + [(args.imgsz, batch) for batch in BATCHES[1:]]
    rows = []
    for imgsz, batch in shapes:
        new = measured(models, imgsz, batch, args.repeats, device)
        cells = "".join(f"{shown(row, 'ratio'):>20}" for row in new[1:])
        print(f"{imgsz:6} {batch:5} {new[0]['ms']:10.1f}{cells}", flush=True)
        rows += new
    write_csv(out / f"growth-{device.type}.csv", rows, hardware(device))
    plot(rows, args.imgsz, hardware(device), out / f"growth-{device.type}.png")


@torch.inference_mode()
def measured(
    models: dict[str, DetectionModel], imgsz: int, batch: int, repeats: int, device: torch.device
) -> list[dict[str, object]]:
    """Return one row a model: its time at one size and batch, and the ratio to the first model's."""
    x = torch.rand(batch, 3, imgsz, imgsz, device=device)
    times = race({name: lambda model=model: model(x) for name, model in models.items()}, repeats, device)
    reference = next(iter(models))
    return [
        {
            "model": Path(name).stem, "imgsz": imgsz, "batch": batch, "ms": round(spread(seconds).median * 1e3, 2),
            **ratios(times, name, reference).columns("ratio"),
        }
        for name, seconds in times.items()
    ]  # fmt: skip


def plot(rows: list[dict[str, object]], imgsz: int, machine: str, file: Path) -> None:
    """Return milliseconds an image against the image's size, and against the batch."""
    from matplotlib import pyplot as plt

    figure, (by_size, by_batch) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    names = list(dict.fromkeys(row["model"] for row in rows))
    for name in names:
        style = {"color": "black", "linewidth": 2.5} if name == names[0] else {}
        sizes = [row for row in rows if row["model"] == name and row["batch"] == 1]
        batches = [row for row in rows if row["model"] == name and row["imgsz"] == imgsz]
        by_size.plot([row["imgsz"] for row in sizes], [row["ms"] for row in sizes], "o-", label=name, **style)
        by_batch.plot(
            [row["batch"] for row in batches], [row["ms"] / row["batch"] for row in batches], "o-", label=name, **style
        )
    by_size.set(xlabel="image size, px", ylabel="ms", title="One image", xticks=SIZES)
    by_size.set_xscale("log", base=2)
    by_size.set_yscale("log")
    by_batch.set(xlabel="batch", ylabel="ms an image", title=f"Batches of {imgsz} px", xticks=BATCHES)
    by_batch.set_xscale("log", base=2)
    for axes, ticks in ((by_size, SIZES), (by_batch, BATCHES)):
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.grid(alpha=0.3)
    by_batch.set_ylim(bottom=0)
    by_size.legend()
    figure.suptitle(machine)
    figure.savefig(file, dpi=150)
    print(file)


if __name__ == "__main__":
    main()
