"""SKNet: selective kernels, branches with different receptive fields, weighted by attention.

Li et al., "Selective Kernel Networks", CVPR 2019. https://arxiv.org/abs/1903.06586
Differs from the paper: a unit starts from smaller weights; in form "dilated", the squeeze normalises a training batch
of one image by the running statistics. Form "plain" is the one in most public code: true 5x5, 7x7, ... kernels, biases
everywhere, neither BatchNorm nor ReLU in the squeeze, and units without ReLU.
The skresnet variants are timm's: each branch gets a share of the input's channels.
The file is long, since one paper is one file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..layers import checks
from ..layers.conv import ConvBN
from ..layers.fold import set_weights
from ..layers.in_place import activate, add, lerp
from ..layers.initialisation import start_small
from ..layers.memory_format import channels_last
from ..layers.merge import Mergeable, rewriting, scale_and_shift
from ..layers.prunable import Prunable, keep_inputs, keep_outputs, keep_outputs_of, split
from ..layers.tracing import exporting
from ..messages import shown
from ..registry import register
from .contract import Family, Variant

_FORMS = ("dilated", "plain")
_LARGEST_KERNEL = 31  # one of 255 would take 17 GB at 256 channels


def _check(
    block: str,
    c1: int,
    c2: int,
    s: int,
    M: int,
    g: int,
    r: float,
    L: int,
    form: str,
    split: bool,
    e: float | None = None,
) -> None:
    """Check a YAML row's arguments under the name of the block that the row gives."""
    checks.whole(block, c1=c1, c2=c2, s=s, M=M, g=g, L=L)
    checks.positive(block, r=r)
    checks.at_most(block, **{"c2/r": c2 / r})
    checks.flag(block, split=split)
    if form not in _FORMS:
        raise ValueError(f"{block}: form={shown(form)} is no form of the selective kernel; choose one of {_FORMS}")
    if e is not None:
        checks.share(block, c2, "c2", e=e)
    c_in, c_out = (c1, c2) if e is None else (int(c2 * e),) * 2
    in_name, out_name = ("c1", "c2") if e is None else ("c2*e",) * 2
    if split:
        checks.divisible(block, "M", M, **{in_name: c_in})
        c_in, in_name = c_in // M, f"{in_name}/M"
    checks.divisible(block, "g", g, **{in_name: c_in, out_name: c_out})


class _Pixel(nn.Conv2d):
    """1x1 convolution of a pooled map, (B, c1, 1, 1) -> (B, c2, 1, 1).

    It runs as a matrix product, since here a convolution takes longer to set up than to compute. It is a `Conv2d`, so
    that weights keep their published shapes and `model.fuse()` folds BatchNorm into it.
    """

    def __init__(self, c1: int, c2: int, bias: bool = True) -> None:
        super().__init__(c1, c2, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # A matrix product may keep its partial sums in half precision, in which they overflow.
        if exporting() or x.dtype is torch.float16:
            return super().forward(x)
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


class _Squeeze(ConvBN):
    """1x1 convolution, BatchNorm and ReLU on a pooled (B, c, 1, 1) map."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__(c1, c2, act=nn.ReLU(inplace=True))
        self.conv = _Pixel(c1, c2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        bn = self.bn
        if self.training and len(x) == 1 and not isinstance(bn, nn.SyncBatchNorm):
            # One image has one value a channel here, which has no variance: normalise by the running statistics.
            # SyncBatchNorm has the values of all processes, and the others wait for this process's value.
            x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, training=False, eps=bn.eps)
        else:
            x = bn(x)
        return activate(self.act, x, self.conv, bn)


@register(like="Conv")
class SKConv(Mergeable):
    """Selective kernel convolution: split, fuse, select (paper, Sec. 3.1).

    `M` branches convolve the input with kernels of 3, 5, 7, ... pixels (form "dilated": 3x3 at dilations 1, 2, 3, ...).
    Their sum's global mean is squeezed to d = max(c2 / r, L) values, from which a softmax over the branches gives each
    branch its weight for each channel (paper, Eq. 1 to 6).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s), any H and W, any B

    YAML:
        - [-1, 1, SKConv, [128]]  # [c2, s=1, M=2, g=32, r=16, L=32, form="dilated", split=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        s: stride.
        M: number of branches.
        g: groups of each branch's convolution (paper: G).
        r: reduction of the squeeze.
        L: smallest width of the squeeze.
        form: "dilated", the paper's, or "plain".
        split: True gives each branch a share of the input's channels instead of all, as in timm's skresnets.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        s: int = 1,
        M: int = 2,
        g: int = 32,
        r: float = 16,
        L: int = 32,
        form: str = "dilated",
        split: bool = False,
    ) -> None:
        super().__init__()
        _check("SKConv", c1, c2, s, M, g, r, L, form, split)
        c_in = c1 // M if split else c1
        d = max(int(c2 / r), L)
        plain = form == "plain"
        self.split = split
        self.branches = nn.ModuleList(
            ConvBN(c_in, c2, 3 + 2 * i, s, g=g, act=nn.ReLU(inplace=True), bias=True)
            if plain
            else ConvBN(c_in, c2, 3, s, g=g, d=1 + i, act=nn.ReLU(inplace=True))
            for i in range(M)
        )
        self.squeeze = _Pixel(c2, d) if plain else _Squeeze(c2, d)
        self.select = _Pixel(d, M * c2, bias=plain)
        self.merged = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Split, fuse and select."""
        n = len(self.branches)
        # Every split has constant sizes: an exported graph then has no arithmetic on shapes.
        parts = split(x, [_conv(branch).in_channels for branch in self.branches]) if self.split else [x] * n
        maps = [branch(part) for branch, part in zip(self.branches, parts)]
        # The sum of the means is the mean of the sum, and needs no map of the sum.
        z = functools.reduce(torch.add, [F.adaptive_avg_pool2d(m, 1) for m in maps])
        logits = self.select(self.squeeze(z))
        if n == 2:
            return _blend(maps[0], maps[1], self._first_weight(logits), self.branches[1])
        c = self.select.out_channels // n
        weights = logits.reshape(-1, n, c, 1).softmax(1).reshape(-1, n * c, 1, 1).split(c, 1)
        return functools.reduce(torch.add, [m * weight for m, weight in zip(maps, weights)])

    def _first_weight(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the first branch's weight of two, (B, c, 1, 1): softmax of two is the sigmoid of their difference."""
        if not self.merged:
            first, second = logits.chunk(2, 1)
            logits = first - second
        return logits.sigmoid()

    @rewriting
    def merge(self) -> None:
        """Have `select` compute the difference of two branches' logits instead of both."""
        if self.merged or len(self.branches) != 2:
            return
        select = self.select
        select.out_channels //= 2
        for name, parameter in list(select.named_parameters()):
            first, second = parameter.chunk(2)
            setattr(select, name, nn.Parameter(first - second, requires_grad=parameter.requires_grad))
        self.merged = True


def _conv(branch: nn.Module) -> nn.Conv2d:
    """Return a branch's convolution. What it reads is asked of it, since pruning makes it less."""
    conv = branch.conv
    assert isinstance(conv, nn.Conv2d)
    return conv


def _blend(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor, branch: nn.Module) -> torch.Tensor:
    """Return `share * first + (1 - share) * second`; `branch` is the module that returns `second`."""
    if exporting():  # in exported graphs `lerp` is a comparison and a choice between two forms
        return second + share * (first - second)
    if share.requires_grad:  # the backward pass keeps no further map, and takes the branches one after the other
        return share * first + (1 - share) * second
    return lerp(second, first, share, branch)


@register(like="Conv")
class SKAttention(Prunable, SKConv):
    """Selective kernel convolution that keeps its channels, as tutorials put it behind a stage or SPPF.

    It is form "plain" of `SKConv` with kernels of any sizes.

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 1, SKAttention, [1024]]  # [c2, kernels=[1, 3, 5, 7], reduction=16, group=1, L=32]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling; as many as the input has.
        kernels: sizes of the branches' kernels; or, as a whole number, `reduction`.
        reduction: of the squeeze.
        group: groups of each branch's convolution.
        L: smallest width of the squeeze.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    keeps_channels = True

    def __init__(
        self,
        c1: int,
        c2: int,
        kernels: Sequence[int] | int = (1, 3, 5, 7),
        reduction: float = 16,
        group: int = 1,
        L: int = 32,
    ) -> None:
        if isinstance(kernels, int):
            reduction, kernels = kernels, (1, 3, 5, 7)
        if not isinstance(kernels, (list, tuple)) or not kernels:
            raise ValueError(f"SKAttention: kernels={shown(kernels)} has to be a list such as [1, 3, 5, 7]")
        for k in kernels:
            checks.odd("SKAttention", k=k)
            if k > _LARGEST_KERNEL:
                raise ValueError(
                    f"SKAttention: k={k} has to be at most {_LARGEST_KERNEL}: each branch has k*k*c*c weights"
                )
        _check("SKAttention", c1, c2, 1, len(kernels), group, reduction, L, "plain", split=False)
        if c1 != c2:
            raise ValueError(
                f"SKAttention: c2={c2} has to be c1={c1}, since it keeps its channels; write those of the row that it "
                "reads"
            )
        super().__init__(c1, c2, M=len(kernels), g=group, r=reduction, L=L, form="plain")
        self.branches = nn.ModuleList(ConvBN(c1, c2, k, g=group, act=nn.ReLU(inplace=True), bias=True) for k in kernels)

    @property
    def width(self) -> int:
        """Channels in and out."""
        return self.squeeze.in_channels

    def keep(self, channels: Sequence[int]) -> None:
        """Remove all channels but these from each branch, from the squeeze and from each branch's weights.

        Raises:
            ValueError: the branches' convolutions are in groups, of which channels are no part by themselves.
        """
        width = self.width
        for branch in self.branches:
            conv = _conv(branch)
            groups = conv.groups
            if 1 < groups < width:
                raise ValueError(
                    f"SKAttention: channels cannot be removed one by one with group={groups}; write group=1, or the "
                    "number of channels"
                )
            if groups == 1:
                keep_inputs(conv, channels)
            keep_outputs_of(branch, channels)
        keep_inputs(self.squeeze, channels)  # of the plain form, without BatchNorm
        keep_outputs(self.select, [i + j for i in range(0, self.select.out_channels, width) for j in channels])


@register(like="Conv")
class SKUnit(Mergeable):
    """Bottleneck with a selective kernel convolution in its middle, and a shortcut (paper, Sec. 3.2).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    YAML:
        - [-1, 1, SKUnit, [256]]  # [c2, s=1, M=2, g=32, r=16, L=32, e=0.5, form="dilated", split=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        s: stride.
        M: number of branches.
        g: groups of each branch's convolution (paper: G).
        r: reduction of the squeeze.
        L: smallest width of the squeeze.
        e: channels of the middle, as a multiple of `c2`.
        form: "dilated", the paper's, or "plain".
        split: True gives each branch a share of the middle's channels instead of all.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        s: int = 1,
        M: int = 2,
        g: int = 32,
        r: float = 16,
        L: int = 32,
        e: float = 0.5,
        form: str = "dilated",
        split: bool = False,
    ) -> None:
        super().__init__()
        _check("SKUnit", c1, c2, s, M, g, r, L, form, split, e)
        plain = form == "plain"
        mid = int(c2 * e)
        self.reduce = ConvBN(c1, mid, act=None if plain else nn.ReLU(inplace=True), bias=plain)
        self.sk = SKConv(mid, mid, s, M, g, r, L, form, split)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(mid) if plain else nn.Identity()
        self.expand = ConvBN(mid, c2, bias=plain)
        self.shortcut = ConvBN(c1, c2, s=s, bias=plain) if s > 1 or c1 != c2 else nn.Identity()
        self.act = nn.Identity() if plain else nn.ReLU(inplace=True)
        start_small(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch to the shortcut."""
        x = channels_last(x)
        y = self.expand(self.norm(self.sk(self.reduce(x))))
        return activate(self.act, add(y, self.shortcut(x), self.expand))

    @rewriting
    def merge(self) -> None:
        """Move the plain form's BatchNorm in front of a 1x1 convolution into that convolution."""
        if isinstance(self.norm, nn.Identity):
            return
        scale, shift = scale_and_shift(self.norm)
        conv = self.expand.conv
        assert conv.bias is not None  # in the plain form
        set_weights(conv, conv.weight * scale[:, None, None], conv.bias + conv.weight.flatten(1).to(shift) @ shift)
        self.norm = nn.Identity()


@register(like="C2f")
class SKStage(nn.Module):
    """`n` SK units, the first with stride `s` (paper, Tab. 1).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    YAML:
        - [-1, 3, SKStage, [256, 2]]  # [c2, s=1, M=2, g=32, r=16, L=32, e=0.5, form="dilated", split=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of units, after depth scaling.
        s: stride of the first unit.
        M: number of branches.
        g: groups of each branch's convolution (paper: G).
        r: reduction of the squeeze.
        L: smallest width of the squeeze.
        e: channels of a unit's middle, as a multiple of `c2`.
        form: "dilated", the paper's, or "plain".
        split: True gives each branch a share of the middle's channels instead of all.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        s: int = 1,
        M: int = 2,
        g: int = 32,
        r: float = 16,
        L: int = 32,
        e: float = 0.5,
        form: str = "dilated",
        split: bool = False,
    ) -> None:
        super().__init__()
        checks.whole("SKStage", n=n)
        _check("SKStage", c1, c2, s, M, g, r, L, form, split, e)
        options = (M, g, r, L, e, form, split)
        self.units = nn.Sequential(SKUnit(c1, c2, s, *options), *(SKUnit(c2, c2, 1, *options) for _ in range(n - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the units."""
        return self.units(x)


class SKBasic(nn.Module):
    """ResNet's basic block with a selective kernel convolution as its first one (timm's skresnet18 and 34).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    Args:
        c1: input channels.
        c2: output channels.
        s: stride.
        r: reduction of the squeeze.
        L: smallest width of the squeeze.
    """

    def __init__(self, c1: int, c2: int, s: int = 1, r: float = 8, L: int = 16) -> None:
        super().__init__()
        self.sk = SKConv(c1, c2, s, g=1, r=r, L=L, split=True)
        self.expand = ConvBN(c2, c2, 3)
        self.shortcut = ConvBN(c1, c2, s=s) if s > 1 or c1 != c2 else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch to the shortcut."""
        x = channels_last(x)
        return activate(self.act, add(self.expand(self.sk(x)), self.shortcut(x), self.expand))


class SKNet(nn.Module):
    """A published SKNet or SK ResNet, for classification (paper, Tab. 1).

    Args:
        depths: units in each of the four stages.
        unit: function that builds a unit from (c1, c2, s).
        width: channels of the first stage; each further one doubles them.
        num_classes: classes.
        channels: channels of the image.
    """

    def __init__(
        self,
        depths: Sequence[int],
        unit: Callable[[int, int, int], nn.Module] = SKUnit,
        width: int = 256,
        num_classes: int = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvBN(channels, 64, 7, 2, act=nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, c1 = [], 64
        for i, n in enumerate(depths):
            c2, s = width * 2**i, 2 if i else 1
            stages.append(nn.Sequential(unit(c1, c2, s), *(unit(c2, c2, 1) for _ in range(n - 1))))
            c1 = c2
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(c1, num_classes)

    def drop_classifier(self) -> None:
        """Remove the layers after the last stage."""
        del self.head

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the four stages' maps, at strides 4, 8, 16 and 32, from (B, channels, H, W)."""
        x = self.pool(self.stem(channels_last(x)))
        return [x := stage(x) for stage in self.stages]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify: (B, channels, H, W) -> (B, num_classes)."""
        return self.head(self.forward_features(x)[-1].mean((2, 3)))


def own_name(key: str) -> str:
    """Translate a parameter's name in timm's `skresnet*` and `skresnext*` to this package's."""
    key = re.sub(r"^conv1\.", "stem.conv.", key)
    key = re.sub(r"^bn1\.", "stem.bn.", key)
    key = re.sub(r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.", key)
    key = re.sub(r"conv\d\.paths\.", "sk.branches.", key)
    key = re.sub(r"conv\d\.attn\.fc_select", "sk.select", key)
    key = re.sub(r"conv\d\.attn\.(fc_reduce|bn)", lambda m: f"sk.squeeze.{'bn' if m[1] == 'bn' else 'conv'}", key)
    key = re.sub(r"(?<=\.\d\.)conv1\.(?=conv|bn)", "reduce.", key)
    key = re.sub(r"(?<=\.\d\.)conv[23]\.(?=conv|bn)", "expand.", key)
    key = key.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")
    return re.sub(r"^fc\.", "head.", key)


_BASIC = {"unit": SKBasic, "width": 64}
_BOTTLENECK = {"unit": functools.partial(SKUnit, g=1, r=16, L=8, e=0.25, split=True)}

# Figures: the paper's Tab. 2 (top-1 error 20.79 for SKNet-50); skresnet*: timm. sknet_50 is timm's skresnext50_32x4d.
FAMILY = Family(
    name="skconv",
    title="SKNet",
    summary="kernels of two sizes, weighed by attention",
    variants={
        "sknet_26": Variant(SKNet, {"depths": (2, 2, 2, 2)}, 16_746_408),
        "sknet_50": Variant(SKNet, {"depths": (3, 4, 6, 3)}, 27_479_784, 4.47, 79.21),
        "sknet_101": Variant(SKNet, {"depths": (3, 4, 23, 3)}, 48_736_040),
        "skresnet18": Variant(SKNet, {"depths": (2, 2, 2, 2), **_BASIC}, 11_958_056),
        "skresnet34": Variant(SKNet, {"depths": (3, 4, 6, 3), **_BASIC}, 22_282_376),
        "skresnet50": Variant(SKNet, {"depths": (3, 4, 6, 3), **_BOTTLENECK}, 25_803_160),
        "skresnext50_32x4d": Variant(SKNet, {"depths": (3, 4, 6, 3)}, 27_479_784),
    },
    own_name=own_name,
    same_in_timm={"sknet_50": "skresnext50_32x4d"},
    licence="apache-2.0",
    operators=frozenset({"Relu", "GlobalAveragePool"}),
    widths="width",
    depths="depths",
    also_called={
        **dict.fromkeys(("sk", "sklayer", "skmodule", "selectivekernel"), "SKConv"),
        **dict.fromkeys(("skblock", "sknetblock"), "SKUnit"),
    },
)
