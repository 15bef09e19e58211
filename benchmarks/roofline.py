"""What bounds each stage, memory traffic or arithmetic, and how far it is from that bound.

    python benchmarks/roofline.py                        # n, CPU
    python benchmarks/roofline.py --device 0 --scales ns

The stages of the shipped configs at 640 px, after `model.fuse()`. An operation can be no faster than its arithmetic at
the machine's peak, nor than what it reads and writes at the machine's bandwidth; a stage's bound is the sum over its
operations, each by the slower of the two. "by memory" is the share of the bound that memory traffic makes up, and the
last column how many times its bound a stage took.

Both peaks are measured in turn with each stage. Arithmetic: the faster of a matrix product (1024 x 1024) and a 3x3
convolution (256 channels of 40 x 40). Bandwidth: a copy of the map that enters the stage, not of more: maps that fit
into the cache move several times faster than main memory does. Of each the fastest round counts, the stage's too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measure import device_of, folder, hardware, race, write_csv
from stages import IMAGE, pairs
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """Notes the floating-point operations and the bytes of each operation that runs under it.

    Attributes:
        costs: FLOPs, and bytes read and written, an operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            count = flop_registry.get(func.overloadpacket)
            flops = count(*args, **kwargs, out_val=result) if count else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.costs.append((flops, sum(tensor.nbytes for tensor in tensors)))
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="n")
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--batch", type=int, default=1, help="images; a GPU needs some to be busy")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder; results/ by default, runs/benchmarks/ with other options")
    args = parser.parse_args()
    device, out = device_of(args.device), folder(parser, args)
    torch.manual_seed(0)

    print(f"{hardware(device)}, {IMAGE} px, batch {args.batch}")
    print(
        f"{'':22} {'channels x px':>14} {'GFLOP':>7} {'MB':>7} {'GFLOP/s':>8} {'GB/s':>6} {'bound ms':>9}"
        f" {'by memory':>10} {'ms':>8} {'of bound':>9}"
    )
    rows = []
    for scale in args.scales:
        for pair in pairs(scale):
            x = torch.randn(args.batch, *pair.shape, device=device)
            channels, pixels, _ = pair.shape
            row: dict[str, Any] = {"family": pair.family, "scale": scale, "level": pair.level}
            row |= {"channels": channels, "pixels": pixels, **distance(pair.fused().to(device), x, args.repeats)}
            rows.append(row)
            print(
                f"{pair.family:16} {scale} {pair.level:3} {f'{channels} x {pixels}':>14} {row['GFLOP']:7.3f}"
                f" {row['MB']:7.1f} {row['peak_GFLOPS']:8.1f} {row['peak_GBs']:6.1f} {row['bound_ms']:9.2f}"
                f" {row['by_memory']:10.0%} {row['ms']:8.2f} {row['of_bound']:9.1f}",
                flush=True,
            )
    write_csv(out / f"roofline-{device.type}.csv", rows, hardware(device))


@torch.no_grad()  # inference mode hides convolutions from the counter
def distance(stage: torch.nn.Module, x: torch.Tensor, repeats: int) -> dict[str, float]:
    """Return a stage's work, its bound on this machine, and its time."""
    square = torch.randn(1024, 1024, device=x.device)
    image, kernel = torch.randn(1, 256, 40, 40, device=x.device), torch.randn(256, 256, 3, 3, device=x.device)
    copied = torch.empty_like(x)
    calls: dict[str, Callable[[], object]] = {
        "stage": lambda: stage(x),
        "product": lambda: square @ square,
        "convolution": lambda: F.conv2d(image, kernel, padding=1),
        "copy": lambda: copied.copy_(x),
    }
    # The fastest, not the median: a peak is what the machine can do, and so is what it is compared with.
    times = {name: min(seconds) for name, seconds in race(calls, repeats, x.device).items()}
    flops_a_second = max(
        2 * 1024**3 / times["product"], 2 * image[0, 0].numel() * kernel.numel() / times["convolution"]
    )
    bytes_a_second = 2 * x.nbytes / times["copy"]

    with Operations() as operations:
        stage(x)
    costs = [(flops / flops_a_second, size / bytes_a_second) for flops, size in operations.costs]
    bound = sum(max(cost) for cost in costs)
    return {
        "GFLOP": round(sum(flops for flops, _ in operations.costs) / 1e9, 4),
        "MB": round(sum(size for _, size in operations.costs) / 1e6, 2),
        "peak_GFLOPS": round(flops_a_second / 1e9, 1),
        "peak_GBs": round(bytes_a_second / 1e9, 1),
        "bound_ms": round(bound * 1e3, 3),
        "by_memory": round(sum(memory for arithmetic, memory in costs if memory > arithmetic) / bound, 3),
        "ms": round(times["stage"] * 1e3, 3),
        "of_bound": round(times["stage"] / bound, 2),
    }


if __name__ == "__main__":
    main()
