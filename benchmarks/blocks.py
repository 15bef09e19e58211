"""What one block costs on ONNX Runtime's CPU provider, at each of YOLOv8n's resolutions.

    python benchmarks/blocks.py            # all
    python benchmarks/blocks.py star sk    # those whose name holds one of these words

The difference between two such blocks and one, in milliseconds on one thread at 640 px, fused, and its parameters in
thousands. From this table the configs' depths and ratios were chosen; it says where a family's time goes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # torch exports here, and must leave no idle threads behind

import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from torch import nn
from ultralytics.nn.modules import C2f, Conv
from ultralytics.nn.tasks import BaseModel

from yolo_backbones.families.fasternet import FasterBlock
from yolo_backbones.families.sknet import SKConv, SKUnit
from yolo_backbones.families.starnet import StarBlock
from yolo_backbones.families.vanillanet import VanillaBlock

SIZES = ((32, 160), (64, 80), (128, 40), (256, 20))  # channels and pixels of P2 to P5 in YOLOv8n at 640 px
BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "C2f (stock)": lambda c: C2f(c, c, 1, True),
    "Conv 3x3": lambda c: Conv(c, c, 3),
    "Conv 1x1": lambda c: Conv(c, c, 1),
    "depthwise 7x7": lambda c: Conv(c, c, 7, g=c, act=False),
    "depthwise 3x3": lambda c: Conv(c, c, 3, g=c, act=False),
    **{f"star, mlp_ratio {r}": lambda c, r=r: StarBlock(c, r) for r in (2, 3, 4)},
    "star, mlp_ratio 2, k 3": lambda c: StarBlock(c, 2, k=3),
    **{f"faster, n_div {d}, mlp_ratio {r}": lambda c, d=d, r=r: FasterBlock(c, d, r) for d in (2, 4) for r in (1, 2)},
    **{f"vanilla, act_num {a}": lambda c, a=a: VanillaBlock(c, c, 1, a) for a in (3, 2, 1)},
    **{f"sk conv dilated, g {g}": lambda c, g=g: SKConv(c, c, g=g) for g in (1, 4, 8, 32)},
    **{f"sk conv plain, g {g}": lambda c, g=g: SKConv(c, c, g=g, form="plain") for g in (1, 4, 8, 32)},
    **{f"sk unit, g {g}": lambda c, g=g: SKUnit(c, c, g=g) for g in (1, 4, 8, 16)},
    "sk unit, 8 channels a group": lambda c: SKUnit(c, c, g=c // 16),
}


class Chain(BaseModel):
    """A few layers that Ultralytics can fuse."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run them."""
        return self.model(x)

    def info(self, *args: object, **kwargs: object) -> None:
        """Say nothing."""


def cost(layers: list[nn.Module], channels: int, pixels: int, folder: str) -> tuple[float, int]:
    """Return milliseconds of the fastest of 15 runs, and parameters."""
    model = Chain(nn.ReLU(), *layers).eval().fuse(verbose=False)
    image = torch.rand(1, channels, pixels, pixels)
    file = os.path.join(folder, "block.onnx")
    torch.onnx.export(model, image, file, opset_version=17, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(15):
        start = time.perf_counter()
        session.run(None, {"x": np.asarray(image)})
        times.append(time.perf_counter() - start)
    return min(times) * 1e3, sum(p.numel() for p in model.parameters())


def main() -> None:
    words = sys.argv[1:]
    print(f"{'ms, thousands of parameters':30}" + "".join(f"{f'{c} x {p}²':>16}" for c, p in SIZES))
    with tempfile.TemporaryDirectory() as folder:
        for name, make in BLOCKS.items():
            if words and not any(word in name for word in words):
                continue
            cells = []
            for channels, pixels in SIZES:
                one = cost([make(channels)], channels, pixels, folder)
                two = cost([make(channels), make(channels)], channels, pixels, folder)
                cells.append(f"{two[0] - one[0]:9.2f} {(two[1] - one[1]) / 1e3:6.0f}")
            print(f"{name:30}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
