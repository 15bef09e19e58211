"""Single operations of torch's in the two forms that the blocks choose between, on the CPU.

    python benchmarks/operations.py                      # within half a minute

Each line: milliseconds of the usual form, and the other's time over it, median with quartiles, taken in turn. The maps
are those of YOLOv8n's P2 to P5 at 640 px.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from measure import device_of, hardware, race, ratios, spread
from torch import nn

MAPS = ((32, 160), (64, 80), (128, 40), (256, 20))
ORDERS = {"usual": torch.contiguous_format, "other": torch.channels_last}

Calls = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    cpu = device_of("cpu")
    print(hardware(cpu))
    print(f"{'':58} {'ms':>8} {'other form':>18}")
    for channels, pixels in MAPS:
        for title, calls in pairs(channels, pixels):
            times = race(calls, args.repeats, cpu)
            low, median, high = ratios(times, "other", "usual")
            usual = spread(times["usual"]).median * 1e3
            print(f"{f'{channels} x {pixels}, {title}':58} {usual:8.3f} {f'{median:.2f} ({low:.2f}-{high:.2f})':>18}")


def pairs(channels: int, pixels: int) -> Iterator[tuple[str, Calls]]:
    """Return what is compared on one map."""
    x = torch.randn(1, channels, pixels, pixels)
    maps = {name: x.to(memory_format=order) for name, order in ORDERS.items()}
    layers = {
        "1x1 convolution": nn.Conv2d(channels, 2 * channels, 1),
        "3x3 convolution": nn.Conv2d(channels, channels, 3, padding=1),
        "depthwise 7x7": nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
        "max pooling": nn.MaxPool2d(2),
    }
    for title, layer in layers.items():
        yield f"{title}; channels last", {name: _forward(layer, given) for name, given in maps.items()}
    for title in ("1x1 convolution", "depthwise 7x7"):
        yield (
            f"{title}, gradient of its weights; channels last",
            {name: _gradient(layers[title], given) for name, given in maps.items()},
        )
    yield "ReLU; in place", {"usual": lambda: F.relu(x), "other": lambda: F.relu_(x)}
    pixel, conv = torch.randn(2, channels, 1, 1), nn.Conv2d(channels, 32, 1).requires_grad_(False)
    yield (
        "1x1 convolution of two means; a matrix product",
        {"usual": lambda: conv(pixel), "other": lambda: F.linear(pixel.flatten(1), conv.weight.flatten(1), conv.bias)},
    )


def _forward(layer: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    @torch.inference_mode()
    def run() -> object:
        return layer(x)

    return run


def _gradient(layer: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    y = layer(x)
    gradient = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, layer.weight, gradient, retain_graph=True)


if __name__ == "__main__":
    main()
