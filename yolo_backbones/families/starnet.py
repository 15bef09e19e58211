"""StarNet: the star operation, an element-wise product of two linear maps.

Ma et al., "Rewrite the Stars", CVPR 2024. https://arxiv.org/abs/2403.19967
Differs from the paper: each block's first depthwise convolution starts near the identity, stem and downsampling start
small; else nothing in the published variants. In a YAML row, convolutions before a BatchNorm have no bias by default,
since BatchNorm would cancel it, and a stage whose channels change begins with a 1x1 convolution.
The file is long, since one paper is one file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..layers import checks
from ..layers.conv import ConvBN, EntryConvBN
from ..layers.csp import C2fOf, C3k2Of
from ..layers.fold import set_weights
from ..layers.in_place import activate, add, multiply
from ..layers.initialisation import start_as_identity, start_quick, start_small
from ..layers.memory_format import channels_last
from ..layers.merge import Mergeable, rewriting
from ..layers.stochastic_depth import drop_path as _drop_path
from ..layers.stochastic_depth import linear_rates
from ..registry import register
from .contract import Family, Variant

# The product of two half-precision numbers may overflow where neither does. So one factor is scaled down, and the next
# convolution's weights up. A power of two changes no bit of the result.
_HALF_SCALE = 8


@register(like="Conv")
class StarStem(EntryConvBN):
    """3x3 convolution of stride 2, BatchNorm, ReLU6 (paper, Fig. 3).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    YAML:
        - [-1, 1, StarStem, [64]]  # [c2, k=3, s=2, act="relu6", bias=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        k: kernel size.
        s: stride.
        act: activation, a name from `checks.ACTIVATIONS`.
        bias: a bias in front of BatchNorm, as the published weights have it.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 2, act: str = "relu6", bias: bool = False) -> None:
        checks.convolution("StarStem", c1, c2, k, s, bias)
        super().__init__(c1, c2, k, s, act=checks.activation("StarStem", act), bias=bias)
        start_quick(self.conv)


@register(like="Conv")
class StarDown(EntryConvBN):
    """3x3 convolution of stride 2 and BatchNorm, between two stages (paper, Fig. 3).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    YAML:
        - [-1, 1, StarDown, [128]]  # [c2, k=3, s=2, bias=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        k: kernel size.
        s: stride.
        bias: a bias in front of BatchNorm, as the published weights have it.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 2, bias: bool = False) -> None:
        checks.convolution("StarDown", c1, c2, k, s, bias)
        super().__init__(c1, c2, k, s, bias=bias)
        start_quick(self.conv)


class StarBlock(Mergeable):
    """Depthwise 7x7, the star, 1x1, depthwise 7x7, and a shortcut around all four (paper, Fig. 3).

    The star is `act(f1(x)) * f2(x)`. With w1 and w2 as the two maps' weights, w1'x * w2'x is a sum over all pairs
    x_i x_j: about d^2/2 implicit dimensions from d channels. Each further layer squares that (paper, Eq. 2 to 6). It is
    a kernel trick that takes one multiplication a channel.

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out.
        mlp_ratio: channels of the star, as a multiple of `c`.
        drop_path: probability of dropping the branch in training.
        act: activation of the star's first factor.
        k: kernel size of the depthwise convolutions.
        bias: biases in front of BatchNorm, as the published weights have them.
    """

    def __init__(
        self,
        c: int,
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        act: str = "relu6",
        k: int = 7,
        bias: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(c * mlp_ratio)
        self.dwconv = ConvBN(c, c, k, g=c, bias=bias)
        # Two convolutions, also after merging. With one whose output is split, a block took 1.0 times as long in
        # PyTorch, but 1.1 to 1.7 times in ONNX Runtime and 1.05 to 1.55 times in OpenVINO, which copy what they split.
        self.f1 = nn.Conv2d(c, hidden, 1)
        self.f2 = nn.Conv2d(c, hidden, 1)
        self.g = ConvBN(hidden, c, bias=bias)
        self.dwconv2 = nn.Conv2d(c, c, k, padding=k // 2, groups=c)
        self.act = checks.activation("StarStage", act)
        self.drop_path = _drop_path(drop_path)
        self.scaled = False
        start_small(self)  # as the authors' code does
        start_as_identity(self.dwconv.conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch to `x`."""
        y = self._star(self.dwconv(x))
        y = self._project_scaled(y) if self._scales(y) else self.g(y)
        return add(self.drop_path(self.dwconv2(y)), x, self.dwconv2, self.drop_path)

    def _star(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = activate(self.act, self.f1(x), self.f1), self.f2(x)
        if self._scales(gate):
            gate = gate / _HALF_SCALE
        return multiply(gate, value, self.f1, self.act)

    def _scales(self, x: torch.Tensor) -> bool:
        return x.dtype is torch.float16 and not self.scaled

    def _project_scaled(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.g.conv
        weight, bias = conv.weight.to(x.dtype), conv.bias if conv.bias is None else conv.bias.to(x.dtype)
        y = F.conv2d(x, weight * _HALF_SCALE, bias)
        return self.g.bn(y) if hasattr(self.g, "bn") else y

    @rewriting
    def merge(self) -> None:
        """Move the scaling that half precision needs into the weights."""
        if not self.scaled:
            bias = self.f2.bias
            assert bias is not None
            set_weights(self.f2, self.f2.weight / _HALF_SCALE, bias / _HALF_SCALE)
            set_weights(self.g.conv, self.g.conv.weight * _HALF_SCALE, self.g.conv.bias)
            self.scaled = True


@register(like="C2f")
class StarStage(nn.Module):
    """`n` star blocks at one resolution, after a 1x1 convolution where the channels change.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 3, StarStage, [128]]  # [c2, mlp_ratio=4, drop_path=0.0, act="relu6", k=7, bias=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        mlp_ratio: channels of the star, as a multiple of `c2`.
        drop_path: probability of dropping a block's branch in training; one number, or a list of n.
        act: activation of the star's first factor, a name from `checks.ACTIVATIONS`.
        k: kernel size of the depthwise convolutions.
        bias: biases in front of BatchNorm, as the published weights have them.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        mlp_ratio: float = 4,
        drop_path: float | Sequence[float] = 0.0,
        act: str = "relu6",
        k: int = 7,
        bias: bool = False,
    ) -> None:
        super().__init__()
        checks.whole("StarStage", c1=c1, c2=c2, n=n)
        checks.share("StarStage", c2, "c2", mlp_ratio=mlp_ratio)
        checks.flag("StarStage", bias=bias)
        checks.odd("StarStage", k=k)
        rates = checks.rates("StarStage", drop_path, n)
        self.proj = ConvBN(c1, c2) if c1 != c2 else nn.Identity()
        self.blocks = nn.Sequential(*(StarBlock(c2, mlp_ratio, rate, act, k, bias) for rate in rates))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks."""
        return self.blocks(self.proj(channels_last(x)))


def _block(layer: nn.Module, c: int) -> StarBlock:
    return StarBlock(c, mlp_ratio=3, bias=True)  # as the authors' block by default, and so in forks


@register(like="C2f")
class C2f_Star(C2fOf):
    """YOLOv8's C2f with star blocks in place of its bottlenecks, as many forks have it.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 3, C2f_Star, [128, True]]  # [c2, shortcut=False, g=1, e=0.5]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        shortcut: without effect, as `g`: a star block has its own. They keep C2f's order of arguments.
        g: see `shortcut`.
        e: channels of a block, as a multiple of `c2`.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    block = _block


@register(like="C2f")
class C3k2_Star(C3k2Of):
    """YOLO11's C3k2 with star blocks in place of its bottlenecks, as many forks have it.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 2, C3k2_Star, [256, False, 0.25]]  # [c2, c3k=False, e=0.5]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        c3k: each block is a C3k with two star blocks; at scales m, l and x it always is, as in YOLO11's C3k2.
        e: channels of a block, as a multiple of `c2`.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    block = _block


class StarNet(nn.Module):
    """A published StarNet, for classification (paper, Tab. 1 and Fig. 3).

    Args:
        base: channels of the first stage; each further one doubles them.
        depths: blocks in each of the four stages.
        mlp_ratio: channels of the star, as a multiple of the stage's.
        drop_path: stochastic depth's rate at the last block; it rises from 0 at the first.
        num_classes: classes.
        channels: channels of the image.
    """

    def __init__(
        self,
        base: int,
        depths: Sequence[int],
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = StarStem(channels, 32, bias=True)
        stages, c1 = [], 32
        for i, (n, rates) in enumerate(zip(depths, linear_rates(drop_path, depths))):
            c2 = base * 2**i
            stage = StarStage(c2, c2, n, mlp_ratio, rates, bias=True)
            stages.append(nn.Sequential(StarDown(c1, c2, bias=True), stage))
            c1 = c2
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(c1)
        self.head = nn.Linear(c1, num_classes)

    def drop_classifier(self) -> None:
        """Remove the layers after the last stage."""
        del self.norm, self.head

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the four stages' maps, at strides 4, 8, 16 and 32, from (B, channels, H, W)."""
        x = self.stem(x)
        return [x := stage(x) for stage in self.stages]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify: (B, channels, H, W) -> (B, num_classes)."""
        return self.head(self.norm(self.forward_features(x)[-1]).mean((2, 3)))


def own_name(key: str) -> str:
    """Translate a parameter's name in timm's `starnet_*` to this package's."""
    key = re.sub(r"^stem\.0\.", "stem.", key)
    key = re.sub(r"^(stages\.\d+)\.([1-9]\d*)\.", lambda m: f"{m[1]}.1.blocks.{int(m[2]) - 1}.", key)
    return re.sub(r"\.(f1|f2|dwconv2)\.conv\.", r".\1.", key)


# Figures: the authors' README, https://github.com/ma-xu/Rewrite-the-Stars; parameters counted on their code.
FAMILY = Family(
    name="starnet",
    title="StarNet",
    summary="products of two linear maps",
    variants={
        "starnet_s1": Variant(StarNet, {"base": 24, "depths": (2, 2, 8, 3)}, 2_869_168, 0.422, 73.6),
        "starnet_s2": Variant(StarNet, {"base": 32, "depths": (1, 2, 6, 2)}, 3_682_024, 0.544, 74.7),
        "starnet_s3": Variant(StarNet, {"base": 32, "depths": (2, 2, 8, 4)}, 5_750_792, 0.754, 77.4),
        "starnet_s4": Variant(StarNet, {"base": 32, "depths": (3, 3, 12, 5)}, 7_482_728, 1.050, 78.8),
        "starnet_s050": Variant(StarNet, {"base": 16, "depths": (1, 1, 3, 1), "mlp_ratio": 3}, 542_728, 0.091),
        "starnet_s100": Variant(StarNet, {"base": 20, "depths": (1, 2, 4, 1)}, 1_043_280, 0.186),
        "starnet_s150": Variant(StarNet, {"base": 24, "depths": (1, 2, 4, 2), "mlp_ratio": 3}, 1_560_616, 0.227),
    },
    own_name=own_name,
    licence="apache-2.0",
    unused=frozenset({"norm"}),
    operators=frozenset({"Clip"}),  # ReLU6
    widths="base",
    depths="depths",
    also_called={**dict.fromkeys(("starblock", "starsblock", "starnetblock"), "StarStage"), "c3star": "C2f_Star"},
)
