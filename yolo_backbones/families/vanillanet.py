"""VanillaNet: a plain chain of convolutions, deeper in training than at inference.

Chen et al., "VanillaNet: the Power of Minimalism in Deep Learning", NeurIPS 2023. https://arxiv.org/abs/2305.12972
Differs from the paper: the series activation starts as a ReLU, see `SeriesActivation`.
The file is long, since one paper is one file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from ultralytics.utils import LOGGER

from ..layers import checks
from ..layers.conv import ConvBN
from ..layers.in_place import leaky_relu, spare, watched
from ..layers.initialisation import start_as_identity, start_small
from ..layers.memory_format import channels_last
from ..layers.merge import Mergeable, rewriting
from ..registry import register
from .contract import Family, ForeignRow, Oracle, Release, Variant

# State dicts have the slope in millionths. It has to be a whole number, since a model's exponential moving average
# averages floats.
_UNIT = 10**6
_UNTRAINED = -1

_FORMS = ("linear", "cosine")


@dataclass(frozen=True)
class DeepTraining:
    """Schedule of the slope between two mergeable convolutions, from 0 to 1 (paper, Sec. 3.1 and Eq. 1).

    Args:
        share: share of the epochs until the slope is 1; the authors took 100 of 300.
        form: "linear" or "cosine".

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    share: float = 1 / 3
    form: str = "linear"

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 <= self.share <= 1:
            raise ValueError(
                f"deep_training: share={self.share!r} has to be a number from 0 to 1, a share of the epochs"
            )
        if self.form not in _FORMS:
            raise ValueError(f"deep_training: form={self.form!r} is no such form; choose one of {_FORMS}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> DeepTraining:
        """Return the schedule under `deep_training` in a model's YAML, or the authors' where there is none.

        Raises:
            ValueError: the YAML has something else there; the message says what it takes.
        """
        given = config.get("deep_training") or {}
        if not isinstance(given, Mapping) or not set(given) <= {"share", "form"}:
            raise ValueError(
                f"the model's YAML says deep_training: {given!r}; it takes share and form, as in "
                "deep_training: {share: 0.33, form: cosine}"
            )
        return cls(**given)

    def epochs(self, total: int) -> int:
        """Return the first of `total` epochs, counted from 0, at which the slope is 1."""
        return math.ceil(self._rise_epochs(total))

    def slope(self, epoch: int, total: int) -> float:
        """Return the slope in an epoch, counted from 0, of `total`."""
        rise = self._rise_epochs(total)
        done = min(1.0, epoch / rise) if rise else 1.0
        return done if self.form == "linear" else 0.5 * (1 - math.cos(math.pi * done))

    def _rise_epochs(self, total: int) -> float:
        """Return the epochs of the rise. Less than one counts as 0, so that a training of one epoch can merge too."""
        rise = self.share * total
        return rise if rise >= 1 else 0.0


class SeriesActivation(nn.Module):
    """ReLU, then a depthwise convolution that sums shifted activations, then BatchNorm (paper, Eq. 6).

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels.
        act_num: reach of the sum: the kernel is 2 * act_num + 1 wide.
    """

    def __init__(self, c: int, act_num: int = 3) -> None:
        super().__init__()
        self.series = ConvBN(c, c, 2 * act_num + 1, g=c)
        start_small(self)
        start_as_identity(self.series.conv)  # so it starts as the ReLU alone

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activate `x`, which may be overwritten."""
        return self.series(F.relu(x, inplace=not watched(self)))


class DeepConv(Mergeable):
    """Two convolutions, the second 1x1, with `leaky_relu(x, slope)` between them (paper, Sec. 3.1).

    At slope 1 nothing is between them, and `merge()` makes them one.

    Shape:
        (B, c1, H, W) -> (B, c2, H', W'), the size that the first convolution gives

    Args:
        first: any convolution.
        second: a 1x1 convolution of stride 1.

    Attributes:
        act_learn: slope in state dicts, in millionths; -1 until it is set, which counts as slope 1.
    """

    act_learn: torch.Tensor

    def __init__(self, first: ConvBN, second: ConvBN | nn.Conv2d) -> None:
        super().__init__()
        self.conv1: ConvBN | nn.Conv2d = first
        self.conv2 = second
        self.register_buffer("act_learn", torch.tensor(_UNTRAINED))
        # The same as a number: reading a tensor would make the forward pass wait for the GPU, and break graphs.
        self._slope = 1.0

    @property
    def slope(self) -> float:
        """Slope of the leaky ReLU, 0 to 1."""
        return self._slope

    @slope.setter
    def slope(self, value: float) -> None:
        self._slope = value
        self.act_learn.fill_(round(value * _UNIT))

    @property
    def merged(self) -> bool:
        """True if the two convolutions are one."""
        return not hasattr(self, "conv2")

    @property
    def learned(self) -> float:
        """Slope that the weights were trained to; 0 before any training."""
        return max(int(self.act_learn), 0) / _UNIT

    def raise_slope(self, value: float) -> None:
        """Set the slope to `value`, or to the one that the weights were trained to if that is higher."""
        self.slope = max(value, self.learned)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve twice, or once after merging."""
        x = self.conv1(channels_last(x))
        if self.merged:
            return x
        return self.conv2(x if self._slope == 1 else leaky_relu(x, self._slope, self.conv1))

    @rewriting
    def merge(self) -> None:
        """Merge the two convolutions into one if the slope is 1; otherwise leave them."""
        if self._slope != 1 or self.merged:
            return
        first, second = _without_bn(self.conv1), _without_bn(self.conv2)
        assert first.bias is not None and second.bias is not None  # folding a BatchNorm leaves one
        # In double precision: the product sums over all hidden channels.
        outer = second.weight.flatten(1).double()
        weight = outer @ first.weight.flatten(1).double()
        bias = outer @ first.bias.double() + second.bias.double()
        first.out_channels = second.out_channels
        first.weight = _parameter(weight.view(-1, *first.weight.shape[1:]), like=first.weight)
        first.bias = _parameter(bias, like=first.bias)
        self.conv1 = first
        del self.conv2, self.act_learn

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
        """Load the slope with the weights. Published weights have none and count as trained to slope 1."""
        key = f"{prefix}act_learn"
        if f"{prefix}conv2.weight" in state_dict or f"{prefix}conv2.conv.weight" in state_dict:
            state_dict.setdefault(key, torch.tensor(_UNIT))
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not self.merged and key in state_dict:
            learned = int(state_dict[key])
            self._slope = 1.0 if learned == _UNTRAINED else learned / _UNIT


def deep_convs(model: nn.Module) -> list[DeepConv]:
    """Return the `DeepConv` modules of a model that are not merged yet, without those of a teacher of its."""
    learning = getattr(model, "module", model)  # in DistributedDataParallel
    learning = getattr(learning, "student_model", learning)  # in Ultralytics' DistillationModel
    return [module for module in learning.modules() if isinstance(module, DeepConv) and not module.merged]


class DeepTrainingHook:
    """Actions that raise the slope during training, in the model and in its moving average, which is saved."""

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse an invalid `deep_training`.

        Raises:
            ValueError: it is invalid; the message gives the rule.
        """
        DeepTraining.of(config)

    def keep(self, model: nn.Module) -> None:
        """Have the slope count as learned; it is 1 where nobody has trained a model yet."""
        for pair in deep_convs(model):
            pair.slope = pair.slope

    def on_train_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Log the schedule of the slope."""
        pairs = deep_convs(trainer.model)
        if not pairs:
            return
        plan, total = DeepTraining.of(config), trainer.epochs
        slope = max(pairs[0].learned, plan.slope(trainer.start_epoch, total))
        if slope == 1:
            LOGGER.info("VanillaNet: slope 1, as after its deep training; pairs of convolutions merge at any time")
        else:
            LOGGER.info(
                f"VanillaNet: slope {slope:.2g} to 1 over the first {plan.epochs(total)} of {total} epochs "
                f"({plan.form}); only then do its pairs of convolutions merge"
            )

    def on_train_epoch_start(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Set the slope of the epoch."""
        slope = DeepTraining.of(config).slope(trainer.epoch, trainer.epochs)
        for model in (trainer.model, trainer.ema.ema) if trainer.ema else (trainer.model,):
            for pair in deep_convs(model):
                pair.raise_slope(slope)

    def on_train_epoch_end(self, trainer: Any, config: Mapping[str, Any]) -> None:
        """Add the slope to the learning rates that Ultralytics logs for each epoch, each a column in results.csv."""
        for pair in deep_convs(trainer.model)[:1]:
            trainer.lr["slope"] = pair.slope


def _parameter(value: torch.Tensor, like: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=like.requires_grad)


def _without_bn(conv: ConvBN | nn.Conv2d) -> nn.Conv2d:
    """Return the convolution, with its BatchNorm folded in if it still has one; it always has a bias."""
    if isinstance(conv, nn.Conv2d):
        return conv
    return fuse_conv_bn_eval(conv.eval().conv, conv.bn) if hasattr(conv, "bn") else conv.conv


@register(like="Conv")
class VanillaStem(nn.Module):
    """A convolution whose kernel is its stride, a 1x1 one mergeable with it, the series activation (paper, Fig. 1).

    Shape:
        (B, c1, H, W) -> (B, c2, H/k, W/k)

    YAML:
        - [-1, 1, VanillaStem, [128]]  # [c2, k=4, act_num=3, bias=False]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        k: kernel size and stride.
        act_num: reach of the series activation.
        bias: biases in front of BatchNorm, as the published weights have them.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, k: int = 4, act_num: int = 3, bias: bool = False) -> None:
        super().__init__()
        checks.whole("VanillaStem", c1=c1, c2=c2, k=k)
        checks.whole("VanillaStem", least=0, act_num=act_num)
        checks.flag("VanillaStem", bias=bias)
        self.convs = DeepConv(ConvBN(c1, c2, k, k, p=0, bias=bias), ConvBN(c2, c2, bias=bias))
        self.act = SeriesActivation(c2, act_num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed the image."""
        return self.act(spare(self.convs(x), self.convs))


@register(like="Conv")
class VanillaBlock(nn.Module):
    """Two mergeable 1x1 convolutions, max pooling, the series activation (paper, Fig. 1).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s), rounded down

    YAML:
        - [-1, 1, VanillaBlock, [256, 2]]  # [c2, s=2, act_num=3, bias=False, ada_pool=0]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        s: stride, by max pooling; 1 leaves the pooling out.
        act_num: reach of the series activation.
        bias: biases in front of BatchNorm, as the published weights have them.
        ada_pool: refused, since only `VanillaNet` can pool adaptively.

    Raises:
        ValueError: an argument breaks its rule; the message names it.
    """

    def __init__(self, c1: int, c2: int, s: int = 2, act_num: int = 3, bias: bool = False, ada_pool: int = 0) -> None:
        super().__init__()
        checks.whole("VanillaBlock", c1=c1, c2=c2, s=s)
        checks.whole("VanillaBlock", least=0, act_num=act_num)
        checks.flag("VanillaBlock", bias=bias)
        if ada_pool:
            raise ValueError(
                f"VanillaBlock: ada_pool={ada_pool!r} pools every image to {ada_pool}x{ada_pool} pixels whatever its "
                "size, so it has no fixed stride, which a detector needs; use s=2. It serves classification alone"
            )
        self.convs = DeepConv(ConvBN(c1, c1, bias=bias), ConvBN(c1, c2, bias=bias))
        self.pool: nn.Module = nn.MaxPool2d(s) if s > 1 else nn.Identity()
        self.act = SeriesActivation(c2, act_num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, pool and activate."""
        return self.act(spare(self.pool(self.convs(x)), self.convs, self.pool))


class VanillaNet(nn.Module):
    """A published VanillaNet, for classification (paper, Tab. 1).

    Args:
        dims: channels of the stem and of each block.
        strides: stride of each block.
        ada_pool: pixels that each stride-2 block pools to, adaptively, in place of its stride. The stem then has
            stride 3 and padding 1.
        act_num: reach of the series activation.
        num_classes: classes.
        channels: channels of the image.
    """

    def __init__(
        self,
        dims: Sequence[int],
        strides: Sequence[int],
        ada_pool: Sequence[int] = (),
        act_num: int = 3,
        num_classes: int = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = VanillaStem(channels, dims[0], 4, act_num, bias=True)
        blocks = [VanillaBlock(c1, c2, s, act_num, bias=True) for c1, c2, s in zip(dims, dims[1:], strides)]
        if ada_pool:
            self.stem.convs.conv1 = ConvBN(channels, dims[0], 4, 3, p=1, bias=True)
            for block, size in zip((b for b, s in zip(blocks, strides) if s > 1), ada_pool):
                block.pool = nn.AdaptiveMaxPool2d(size)
        self.stages = nn.ModuleList(blocks)
        self.head = DeepConv(ConvBN(dims[-1], num_classes, bias=True), nn.Conv2d(num_classes, num_classes, 1))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-6

    @property
    def slope(self) -> float:
        """Slope of the leaky ReLU between two mergeable convolutions, 0 to 1."""
        return self.stem.convs.slope

    @slope.setter
    def slope(self, value: float) -> None:
        for pair in deep_convs(self):
            pair.slope = value

    def merge(self) -> None:
        """Merge every pair of convolutions, if the slope is 1."""
        for pair in deep_convs(self):
            pair.merge()

    def drop_classifier(self) -> None:
        """Remove the layers after the last stage."""
        del self.head

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the maps of the stem and of each block, from (B, channels, H, W)."""
        x = self.stem(x)
        return [x, *(x := stage(x) for stage in self.stages)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify: (B, channels, H, W) -> (B, num_classes)."""
        x = self.forward_features(x)[-1].mean((2, 3), keepdim=True)
        return self.head(x).flatten(1)


def own_name(key: str) -> str:
    """Translate a parameter's name in the authors' network to this package's."""
    key = re.sub(r"^stem([12])\.([01])\.", lambda m: f"stem.convs.conv{m[1]}.{_LAYERS[m[2]]}.", key)
    key = re.sub(r"^(stages\.\d+)\.(conv[12])\.([01])\.", lambda m: f"{m[1]}.convs.{m[2]}.{_LAYERS[m[3]]}.", key)
    key = re.sub(r"^(stem2\.2|stages\.\d+\.act)\.bn\.", r"\1.series.bn.", key)
    key = re.sub(r"^(stem2\.2|stages\.\d+\.act)\.weight$", r"\1.series.conv.weight", key)
    key = key.replace("stem2.2.", "stem.act.")
    return (
        key.replace("cls1.2.", "head.conv1.conv.")
        .replace("cls1.3.", "head.conv1.bn.")
        .replace("cls2.0.", "head.conv2.")
    )


_LAYERS = {"0": "conv", "1": "bn"}


def _fork_block(
    c: int, act_num: int = 3, stride: int = 2, deploy: bool = False, ada_pool: int | None = None
) -> ForeignRow:
    """Read a row of a fork's block, whose convolutions have biases, as the authors'."""
    if deploy:
        raise ValueError("it is built merged (deploy), and learns nothing; build it unmerged, and call fuse() after it")
    return ForeignRow("VanillaBlock", [c, stride, act_num, True, *([ada_pool] if ada_pool else [])])


def _variant(dims: tuple[int, ...], strides: tuple[int, ...], *figures: float, **config: object) -> Variant:
    parameters, merged, gmacs, top1 = figures
    return Variant(
        VanillaNet, {"dims": dims, "strides": strides, **config}, int(parameters), gmacs, top1, merged=int(merged)
    )


def _widths_and_strides(repeats: int, width: float = 1) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return widths and strides of VanillaNet-7 with `repeats` more blocks of 2048 channels."""
    dims = (512, 512, 1024, 2048, *(2048,) * repeats, 4096, 4096)
    return tuple(int(dim * width) for dim in dims), (1, 2, 2, *(1,) * repeats, 2, 1)


# Figures: https://github.com/huawei-noah/VanillaNet; parameters counted on their code.
_VARIANTS = {
    "vanillanet_5": _variant((512, 1024, 2048, 4096), (2, 2, 2), 22_328_800, 15_523_304, 5.161, 72.49),
    "vanillanet_6": _variant((512, 1024, 2048, 4096, 4096), (2, 2, 2, 1), 56_116_704, 32_509_416, 5.993, 76.36),
    "vanillanet_7": _variant(*_widths_and_strides(0), 56_670_176, 32_797_672, 6.894, 77.98),
    "vanillanet_8": _variant(*_widths_and_strides(1), 65_175_520, 37_096_424, 7.736, 79.13),
    "vanillanet_9": _variant(*_widths_and_strides(2), 73_680_864, 41_395_176, 8.577, 79.87),
    "vanillanet_10": _variant(*_widths_and_strides(3), 82_186_208, 45_693_928, 9.419, 80.57),
    "vanillanet_11": _variant(*_widths_and_strides(4), 90_691_552, 49_992_680, 10.261, 81.08),
    "vanillanet_12": _variant(*_widths_and_strides(5), 99_196_896, 54_291_432, 11.103, 81.55),
    "vanillanet_13": _variant(*_widths_and_strides(6), 107_702_240, 58_590_184, 11.944, 82.05),
    "vanillanet_13_x1_5": _variant(*_widths_and_strides(6, 1.5), 236_942_048, 127_796_200, 26.548, 82.53),
    "vanillanet_13_x1_5_ada_pool": _variant(
        *_widths_and_strides(6, 1.5), 236_942_048, 127_796_200, 48.983, 83.11, ada_pool=(38, 19, 10)
    ),
}

_RELEASES = "https://github.com/huawei-noah/VanillaNet/releases"

FAMILY = Family(
    name="vanillanet",
    title="VanillaNet",
    summary="plain convolutions, merged in pairs",
    variants=_VARIANTS,
    own_name=own_name,
    naming="authors",
    merged=frozenset({"stages.0.conv.weight", "stages.0.convs.conv1.weight"}),
    release=Release(
        page=_RELEASES,
        urls={name: f"{_RELEASES}/download/ckpt/{name}.pth" for name in _VARIANTS},
        licence="apache-2.0",
    ),
    oracle=Oracle(
        "vanillanet_tiny.npz",
        network=lambda: VanillaNet((16, 24, 40, 64, 64), (2, 2, 2, 1), num_classes=10),
        features="act_learn=1.0/feature{}",
    ),
    training=DeepTrainingHook(),
    operators=frozenset({"Relu"}),
    widths="dims",
    foreign_rows={"VanillaBlock": _fork_block, "vanillanetBlock": _fork_block},
)
