"""A block of your own in YOLOv8's backbone: about thirty lines here, and a YAML beside it that uses it.

    export YOLO_BACKBONES_BLOCKS=examples/own_block.py
    yolo train model=examples/yolov8n-ownblock.yaml data=shapes.yaml imgsz=160 epochs=20
    yolo predict model=runs/detect/train/weights/best.pt imgsz=160 source=picture.jpg

Every process that Ultralytics starts imports what that variable names, so multi-GPU training, tuning and export know
the block too. In a script of your own, `import own_block` before `YOLO(...)` does the same. Keep the class in a module
such as this one: a checkpoint stores a class by its import path, and other programs cannot import the script you run.
docs/blocks.md has the other contracts: attention, layers without channels, several inputs.
"""

import torch
from torch import nn
from ultralytics.nn.modules import Conv

from yolo_backbones import register


@register(like="C2f")  # the YAML row is read as C2f's: width scales c2, depth scales n
class LargeKernelStage(nn.Module):
    """`n` residual blocks: a depthwise k x k convolution, which mixes pixels, then two 1 x 1, which mix channels.

    YAML:
        - [-1, 3, LargeKernelStage, [128, 7]]  # [c2, k=7]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        k: kernel size, odd.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, k: int = 7) -> None:
        super().__init__()
        self.enter = Conv(c1, c2, 1) if c1 != c2 else nn.Identity()
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv(c2, c2, k, g=c2, act=False), Conv(c2, 2 * c2, 1), Conv(2 * c2, c2, 1, act=False))
            for _ in range(n)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks: (B, c1, H, W) -> (B, c2, H, W)."""
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return x
