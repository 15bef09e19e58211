"""FasterNet: partial convolution.

Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", CVPR 2023.
https://arxiv.org/abs/2303.03667
Differs from the paper: nothing in the published variants. In a YAML row, a stage whose channels change begins with a
1x1 convolution.
The file is long, since one paper is one file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from ..layers import checks
from ..layers.conv import ConvBN, EntryConvBN
from ..layers.csp import C2fOf, C3k2Of
from ..layers.in_place import activate, add
from ..layers.initialisation import start_small
from ..layers.memory_format import channels_last
from ..layers.prunable import Prunable, keep_inputs, keep_outputs
from ..layers.stochastic_depth import drop_path as _drop_path
from ..layers.stochastic_depth import linear_rates
from ..layers.tracing import exporting
from ..registry import register
from .contract import Family, ForeignRow, Variant

_FORMS = ("split_cat", "slicing")


@register(like="Conv")
class FasterEmbed(EntryConvBN):
    """Embedding: a convolution whose kernel is its stride, and BatchNorm (paper, Fig. 4).

    Shape:
        (B, c1, H, W) -> (B, c2, H/k, W/k)

    YAML:
        - [-1, 1, FasterEmbed, [128]]  # [c2, k=4]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        k: kernel size and stride.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, k: int = 4) -> None:
        checks.whole("FasterEmbed", c1=c1, c2=c2, k=k)
        super().__init__(c1, c2, k, k, p=0)


@register(like="Conv")
class FasterMerge(EntryConvBN):
    """Merging between two stages: a convolution whose kernel is its stride, and BatchNorm (paper, Fig. 4).

    Shape:
        (B, c1, H, W) -> (B, c2, H/k, W/k)

    YAML:
        - [-1, 1, FasterMerge, [256]]  # [c2, k=2]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        k: kernel size and stride.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, k: int = 2) -> None:
        checks.whole("FasterMerge", c1=c1, c2=c2, k=k)
        super().__init__(c1, c2, k, k, p=0)


class PartialConv(Prunable):
    """A 3x3 convolution on the first `c / n_div` channels; the others pass unchanged (paper, Sec. 3.2).

    Both forms give the same output. `split_cat` joins two parts. `slicing` overwrites part of a copy, at inference
    only: training and export always use `split_cat`.

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out.
        n_div: one channel in `n_div` is convolved.
        form: "split_cat" or "slicing".
    """

    def __init__(self, c: int, n_div: int = 4, form: str = "split_cat") -> None:
        super().__init__()
        self.convolved = c // n_div
        self.untouched = c - self.convolved
        self.conv: nn.Module = nn.Conv2d(self.convolved, self.convolved, 3, padding=1, bias=False)
        self.slicing = form == "slicing"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve the first channels, without writing to `x`."""
        if self.slicing and not self.training and not exporting():
            y = x.clone()  # the caller's shortcut still needs x
            y[:, : self.convolved] = self.conv(x[:, : self.convolved])
            return y
        first, rest = x.split((self.convolved, self.untouched), 1)
        return torch.cat((self.conv(first), rest), 1)

    @property
    def width(self) -> int:
        """Channels in and out."""
        return self.convolved + self.untouched

    def keep(self, channels: Sequence[int]) -> None:
        """Remove all channels but these."""
        convolved = [i for i in channels if i < self.convolved]
        self.convolved, self.untouched = len(convolved), len(channels) - len(convolved)
        if not convolved:
            self.conv = nn.Identity()
        elif isinstance(self.conv, nn.Conv2d):
            keep_outputs(self.conv, convolved)
            keep_inputs(self.conv, convolved)


class FasterBlock(nn.Module):
    """Partial convolution, then two 1x1 convolutions, and a shortcut around all three (paper, Fig. 4).

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out.
        n_div: one channel in `n_div` is convolved.
        mlp_ratio: channels between the two 1x1 convolutions, as a multiple of `c`.
        act: activation between them.
        drop_path: probability of dropping the branch in training.
        layer_scale: initial value of the branch's learned factor for each channel; 0 leaves it out.
        form: form of the partial convolution.
    """

    def __init__(
        self,
        c: int,
        n_div: int = 4,
        mlp_ratio: float = 2.0,
        act: str = "relu",
        drop_path: float = 0.0,
        layer_scale: float = 0.0,
        form: str = "split_cat",
    ) -> None:
        super().__init__()
        hidden = int(c * mlp_ratio)
        self.spatial_mixing = PartialConv(c, n_div, form)
        self.mlp = nn.Sequential(
            ConvBN(c, hidden, act=checks.activation("FasterStage", act)), nn.Conv2d(hidden, c, 1, bias=False)
        )
        start_small(self)  # as the authors' code does
        self.layer_scale = nn.Parameter(torch.full((c, 1, 1), float(layer_scale))) if layer_scale else None
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch to `x`."""
        y = self.mlp(self.spatial_mixing(x))
        if self.layer_scale is not None:
            y = y * self.layer_scale
        return add(self.drop_path(y), x, self.mlp, self.drop_path)


@register(like="C2f")
class FasterStage(nn.Module):
    """`n` FasterNet blocks at one resolution, after a 1x1 convolution where the channels change (paper, Fig. 4).

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 3, FasterStage, [128]]
        # [c2, n_div=4, mlp_ratio=2.0, act="relu", drop_path=0.0, layer_scale=0.0, form="split_cat"]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        n_div: one channel in `n_div` is convolved (paper, Sec. 3.2).
        mlp_ratio: channels between a block's two 1x1 convolutions, as a multiple of `c2`.
        act: activation between them, a name from `checks.ACTIVATIONS`.
        drop_path: probability of dropping a block's branch in training; one number, or a list of n.
        layer_scale: initial value of each branch's learned factor for each channel; 0 leaves it out.
        form: form of the partial convolution at inference, "split_cat" or "slicing".

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        n_div: int = 4,
        mlp_ratio: float = 2.0,
        act: str = "relu",
        drop_path: float | Sequence[float] = 0.0,
        layer_scale: float = 0.0,
        form: str = "split_cat",
    ) -> None:
        super().__init__()
        checks.whole("FasterStage", c1=c1, c2=c2, n=n, n_div=n_div)
        checks.divisible("FasterStage", "n_div", n_div, c2=c2)
        checks.share("FasterStage", c2, "c2", mlp_ratio=mlp_ratio)
        if layer_scale:
            checks.positive("FasterStage", layer_scale=layer_scale)
        if form not in _FORMS:
            raise ValueError(f"FasterStage: form={form!r} is no form of the partial convolution; choose {_FORMS}")
        rates = checks.rates("FasterStage", drop_path, n)
        self.proj = ConvBN(c1, c2) if c1 != c2 else nn.Identity()
        self.blocks = nn.Sequential(
            *(FasterBlock(c2, n_div, mlp_ratio, act, rate, layer_scale, form) for rate in rates)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks."""
        return self.blocks(self.proj(channels_last(x)))


def _block(layer: nn.Module, c: int) -> FasterBlock:
    checks.divisible(type(layer).__name__, "n_div", 4, **{"a block's channels": c})
    return FasterBlock(c)


@register(like="C2f")
class C2f_Faster(C2fOf):
    """YOLOv8's C2f with FasterNet blocks in place of its bottlenecks, as many forks have it.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 3, C2f_Faster, [128, True]]  # [c2, shortcut=False, g=1, e=0.5]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        shortcut: without effect, as `g`: a FasterNet block has its own. They keep C2f's order of arguments.
        g: see `shortcut`.
        e: channels of a block, as a multiple of `c2`.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    block = _block


@register(like="C2f")
class C3k2_Faster(C3k2Of):
    """YOLO11's C3k2 with FasterNet blocks in place of its bottlenecks, as many forks have it.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 2, C3k2_Faster, [256, False, 0.25]]  # [c2, c3k=False, e=0.5]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        c3k: each block is a C3k with two FasterNet blocks; at scales m, l and x it always is, as in YOLO11's C3k2.
        e: channels of a block, as a multiple of `c2`.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    block = _block


class FasterNet(nn.Module):
    """A published FasterNet, for classification (paper, Tab. 1 and Fig. 4).

    Args:
        dim: channels of the first stage; each further one doubles them.
        depths: blocks in each of the four stages.
        act: activation.
        drop_path: stochastic depth's rate at the last block; it rises from 0 at the first.
        n_div: one channel in `n_div` is convolved.
        mlp_ratio: channels between a block's two 1x1 convolutions, as a multiple of the stage's.
        form: form of the partial convolution at inference.
        num_classes: classes.
        channels: channels of the image.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        act: str = "relu",
        drop_path: float = 0.0,
        n_div: int = 4,
        mlp_ratio: float = 2.0,
        form: str = "split_cat",
        num_classes: int = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        c1 = channels
        for i, (n, rates) in enumerate(zip(depths, linear_rates(drop_path, depths))):
            c2 = dim * 2**i
            down = FasterMerge(c1, c2) if i else FasterEmbed(c1, c2)
            stages.append(nn.Sequential(down, FasterStage(c2, c2, n, n_div, mlp_ratio, act, rates, form=form)))
            c1 = c2
        self.stages = nn.ModuleList(stages)
        self.conv_head = nn.Conv2d(c1, 1280, 1, bias=False)
        self.act = checks.activation("FasterNet", act)
        self.classifier = nn.Linear(1280, num_classes)

    def drop_classifier(self) -> None:
        """Remove the layers after the last stage."""
        del self.conv_head, self.act, self.classifier

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the four stages' maps, at strides 4, 8, 16 and 32, from (B, channels, H, W)."""
        return [x := stage(x) for stage in self.stages]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify: (B, channels, H, W) -> (B, num_classes)."""
        x = self.forward_features(x)[-1].mean((2, 3), keepdim=True)
        return self.classifier(activate(self.act, self.conv_head(x), self.conv_head).flatten(1))


def own_name(key: str) -> str:
    """Translate a parameter's name in timm's `fasternet_*` to this package's."""
    key = key.replace("patch_embed.proj", "stages.0.0.conv").replace("patch_embed.norm", "stages.0.0.bn")
    key = key.replace("downsample.reduction", "0.conv").replace("downsample.norm", "0.bn")
    key = re.sub(r"^(stages\.\d+)\.blocks\.", r"\1.1.blocks.", key)
    key = key.replace("partial_conv3", "conv")
    return key.replace("mlp.0.", "mlp.0.conv.").replace("mlp.1.", "mlp.0.bn.").replace("mlp.3.", "mlp.1.")


def _patch_embed(c: int, patch_size: int = 4, patch_stride: int = 4) -> ForeignRow:
    return ForeignRow("FasterEmbed", [c, _patch(patch_size, patch_stride)])


def _patch_merging(c: int, patch_size2: int = 2, patch_stride2: int = 2) -> ForeignRow:
    return ForeignRow("FasterMerge", [c, _patch(patch_size2, patch_stride2)])


def _patch(size: int, stride: int) -> int:
    if size != stride:
        raise ValueError(f"its kernel of {size} pixels has to be as large as its stride, {stride}")
    return size


def _basic_stage(c: int, depth: int = 1, n_div: int = 4, mlp_ratio: float = 2) -> ForeignRow:
    return ForeignRow("FasterStage", _without_defaults([c, n_div, mlp_ratio], [4, 2]), depth, keeps_channels=True)


def _without_defaults(args: list[int | float], defaults: list[int]) -> list[int | float]:
    return args[:1] if args[1:] == defaults else args


def _variant(dim: int, depths: tuple[int, ...], act: str, drop_path: float, *figures: float) -> Variant:
    parameters, gmacs, top1 = figures
    config = {"dim": dim, "depths": depths, "act": act, "drop_path": drop_path}
    return Variant(FasterNet, config, int(parameters), gmacs, top1)


# Figures: the paper's Tab. 3 and https://github.com/JierunChen/FasterNet; parameters counted on their code.
FAMILY = Family(
    name="fasternet",
    title="FasterNet",
    summary="convolution on a quarter of the channels",
    variants={
        "fasternet_t0": _variant(40, (1, 2, 8, 2), "gelu", 0.0, 3_905_500, 0.335, 71.9),
        "fasternet_t1": _variant(64, (1, 2, 8, 2), "gelu", 0.02, 7_595_368, 0.851, 76.2),
        "fasternet_t2": _variant(96, (1, 2, 8, 2), "relu", 0.05, 14_982_888, 1.904, 78.9),
        "fasternet_s": _variant(128, (1, 2, 13, 2), "relu", 0.1, 31_181_032, 4.550, 81.3),
        "fasternet_m": _variant(144, (3, 4, 18, 3), "relu", 0.2, 53_521_464, 8.722, 83.0),
        "fasternet_l": _variant(192, (3, 4, 18, 3), "relu", 0.3, 93_465_192, 15.494, 83.5),
    },
    own_name=own_name,
    licence="apache-2.0",
    classifier=frozenset({"classifier"}),
    unused=frozenset({"conv_head"}),
    operators=frozenset({"Relu"}),
    widths="dim",
    depths="depths",
    foreign_rows={
        "PatchEmbed_FasterNet": _patch_embed,
        "PatchMerging_FasterNet": _patch_merging,
        "BasicStage": _basic_stage,
    },
    also_called={
        **dict.fromkeys(("pconv", "partialconv", "partialconv3", "mlpblock"), "FasterStage"),
        **dict.fromkeys(("fasterblock", "fasternetblock", "fasternext"), "FasterStage"),
        "c3faster": "C2f_Faster",
    },
)
