"""Some of a map's channels, such as the thermal ones of an image that also has RGB."""

from __future__ import annotations

import torch
from torch import nn

from ..messages import shown
from ..registry import register
from . import checks


@register(like="Slice")
class Channels(nn.Module):
    """Channels `start` to `stop` - 1 of a map, as in Python's `x[:, start:stop]`.

    So two backbones can each read a part of one image. A row can read the image if row 0 hands it on as it is.

    Shape:
        (B, c1, H, W) -> (B, stop - start, H, W)

    YAML:
        - [-1, 1, nn.Identity, []]     # 0, the image of six channels
        - [0, 1, Channels, [0, 3]]     # 1, [start, stop]
        - [0, 1, Channels, [3, 6]]     # 2

    Args:
        c1: input channels; Ultralytics fills it in.
        start: the first channel taken, from 0.
        stop: the first channel behind them.

    Raises:
        ValueError: the input has no such channels.
    """

    repeatable = False

    def __init__(self, c1: int, start: int, stop: int) -> None:
        super().__init__()
        checks.whole("Channels", c1=c1, stop=stop)
        checks.whole("Channels", 0, start=start)
        if not start < stop <= c1:
            raise ValueError(
                f"Channels: [start, stop]={shown([start, stop])} has to lie in [0, {c1}], the channels of the row it "
                "reads; of an image, data.yaml and the model's YAML say how many, as channels"
            )
        self.start, self.stop = start, stop
        # Without a value. Ultralytics takes the channels of the image, on which it counts GFLOPs, from the shape of the
        # model's first parameter; the first convolution reads a part of them only.
        self.whole = nn.Parameter(torch.empty(0, c1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take the channels."""
        return x[:, self.start : self.stop]

    def extra_repr(self) -> str:
        """Return the channels for printing."""
        return f"{self.start}, {self.stop}"
