"""Each stage of ours against its reference: forward, forward and backward, peak memory.

    python benchmarks/reference.py                       # n and s, CPU
    python benchmarks/reference.py --device 0 --scales n

The stages of the shipped configs at 640 px, with the reference's weights; that both give the same is checked first.
StarNet, FasterNet and SK units are held to timm's blocks, VanillaNet and the plain SKConv to the plainest correct form
(`stages.py`). Forward: one image, in eval mode, ours after `model.fuse()`, against the reference as it is, and against
the reference with its BatchNorms folded. Training: forward and backward of a batch, neither fused. Ratios are medians,
with quartiles, of ours over the reference's in the same round; below 1 ours is faster, or smaller. Memory is the peak
of what is allocated on top of weights and input.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from measure import device_of, folder, hardware, peak_memory, race, ratios, shown, spread, write_csv
from stages import IMAGE, Pair, pairs
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="ns")
    parser.add_argument("--families", nargs="+", help="those whose name holds one of these words")
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--batch", type=int, default=2, help="images, in training")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, help="folder; results/ by default, runs/benchmarks/ with other options")
    args = parser.parse_args()
    device, out = device_of(args.device), folder(parser, args)
    torch.manual_seed(0)

    print(f"{hardware(device)}, {IMAGE} px, batch 1, in training {args.batch}; ratios to the reference")
    print(
        f"{'':22} {'channels x px':>14} {'ms':>7} {'forward':>18} {'of folded':>18} {'memory':>7}"
        f" {'training ms':>12} {'training':>18} {'memory':>7}"
    )
    rows = []
    for scale in args.scales:
        for pair in pairs(scale):
            if args.families and not any(word.lower() in pair.family.lower() for word in args.families):
                continue
            channels, pixels, _ = pair.shape
            row = {
                "family": pair.family, "scale": scale, "level": pair.level, "channels": channels, "pixels": pixels,
                **inference(pair, device, args.repeats), **training(pair, device, args.repeats, args.batch),
            }  # fmt: skip
            rows.append(row)
            print(
                f"{pair.family:16} {scale} {pair.level:3} {f'{channels} x {pixels}':>14} {row['forward_ms']:7.2f}"
                f" {shown(row, 'forward'):>18} {shown(row, 'folded'):>18} {row['forward_memory']:7.2f}"
                f" {row['training_ms']:12.2f} {shown(row, 'training'):>18} {row['training_memory']:7.2f}",
                flush=True,
            )
    write_csv(out / f"reference-{device.type}.csv", rows, hardware(device))


@torch.inference_mode()
def inference(pair: Pair, device: torch.device, repeats: int) -> dict[str, float]:
    """Return what a fused stage costs, and its ratios to the reference and to the folded reference."""
    x = torch.randn(1, *pair.shape, device=device)
    models = {"ours": pair.fused(), "theirs": pair.reference.eval(), "folded": pair.folded()}
    models = {name: model.to(device) for name, model in models.items()}
    expected = models["theirs"](x)
    for model in models.values():
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    calls: dict[str, Callable[[], object]] = {name: lambda model=model: model(x) for name, model in models.items()}
    times = race(calls, repeats, device)
    memory = {name: peak_memory(call, device) for name, call in calls.items()}
    return {
        "forward_ms": round(spread(times["ours"]).median * 1e3, 3),
        **ratios(times, "ours", "theirs").columns("forward"),
        **ratios(times, "ours", "folded").columns("folded"),
        "forward_MB": round(memory["ours"] / 1e6, 2),
        "forward_memory": round(memory["ours"] / memory["theirs"], 3),
    }


def training(pair: Pair, device: torch.device, repeats: int, batch: int) -> dict[str, float]:
    """Return what a forward and a backward pass of a stage cost, and the ratios to the reference."""
    x = torch.randn(batch, *pair.shape, device=device, requires_grad=True)
    models = {"ours": pair.ours.to(device).train(), "theirs": pair.reference.to(device).train()}
    expected = models["theirs"](x).detach()
    output = models["ours"](x).detach()
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    # In the order in memory that the map has itself, as the layers behind it hand it back.
    gradients = {"ours": torch.randn_like(output), "theirs": torch.randn_like(expected)}
    calls = {name: lambda name=name: step(models[name], x, gradients[name]) for name in models}
    times = race(calls, repeats, device)
    memory = {name: peak_memory(call, device) for name, call in calls.items()}
    return {
        "training_ms": round(spread(times["ours"]).median * 1e3, 3),
        **ratios(times, "ours", "theirs").columns("training"),
        "training_MB": round(memory["ours"] / 1e6, 2),
        "training_memory": round(memory["ours"] / memory["theirs"], 3),
    }


def step(model: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> None:
    """Forward and backward; the gradients are dropped again."""
    model(x).backward(gradient)
    x.grad = None
    model.zero_grad()


if __name__ == "__main__":
    main()
