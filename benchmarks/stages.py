"""The stages of the shipped configs, each with what one would otherwise run in its place.

StarNet, FasterNet and SK units have timm's blocks as their reference. VanillaNet and the plain SKConv, which timm does
not have, have the plainest correct form, written here. A family without a reference here is held to its own stages as
they are trained, with nothing merged.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import fasternet as timm_fasternet
from timm.models import resnet as timm_resnet
from timm.models import sknet as timm_sknet
from timm.models import starnet as timm_starnet
from torch import nn
from ultralytics.nn.tasks import BaseModel, DetectionModel
from ultralytics.utils.torch_utils import initialize_weights

from yolo_backbones import registry
from yolo_backbones.families import families, fasternet, sknet, starnet, vanillanet
from yolo_backbones.layers.fold import fold_batch_norms

IMAGE = 640
_ROWS = slice(0, 9)  # of the backbone, without SPPF

Row = list[float]  # the arguments of a row in a config


class Stage(BaseModel):  # type: ignore[misc]  # Ultralytics' layers are untyped
    """A few rows of a model, which Ultralytics can fuse."""

    def __init__(self, *rows: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the rows."""
        return self.model(x)

    def info(self, *args: object, **kwargs: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Pair:
    """A stage of ours and its reference: the same weights, the same output.

    Args:
        family: what the stage is of.
        level: where it stands, "P3" for a stride of 8.
        ours: not fused.
        reference: with its own BatchNorms.
        shape: channels, height and width of what enters.
    """

    family: str
    level: str
    ours: Stage
    reference: nn.Module
    shape: tuple[int, int, int]

    def fused(self) -> nn.Module:
        """Ours as `model.fuse()` leaves it for inference."""
        return copy.deepcopy(self.ours).eval().fuse(verbose=False)

    def folded(self) -> nn.Module:
        """Return the reference without the BatchNorms that stand behind a convolution."""
        model = copy.deepcopy(self.reference).eval()
        fold_batch_norms(model, torch.zeros(1, *self.shape))
        return model


@dataclass(frozen=True)
class Reference:
    """What a family's blocks are held to.

    Args:
        name: of the blocks, in the tables.
        block: our class.
        reference: builds one block's, from the channels of its input and output and the row's arguments.
        own_name: our name of one of the reference's parameters.
    """

    name: str
    block: type[nn.Module]
    reference: Callable[[int, int, Row], nn.Module]
    own_name: Callable[[str], str]


def _star(c: int, _: int, row: Row) -> nn.Module:
    hidden = int(c * row[1])
    # Built anew where timm wants a whole mlp_ratio, and without the biases that BatchNorm cancels, as our configs.
    block = timm_starnet.Block(c, mlp_ratio=1)
    block.dwconv = timm_starnet.ConvBN(c, c, 7, padding=3, groups=c, bias=False)
    block.f1 = timm_starnet.ConvBN(c, hidden, with_bn=False)
    block.f2 = timm_starnet.ConvBN(c, hidden, with_bn=False)
    block.g = timm_starnet.ConvBN(hidden, c, bias=False)
    return block


def _faster(c: int, _: int, row: Row) -> nn.Module:
    return timm_fasternet.MLPBlock(c, int(row[1]), row[2], drop_path=0, layer_scale_init_value=0)


def _sk(c1: int, c2: int, row: Row) -> nn.Module:
    groups, e = int(row[3]), row[6] if len(row) > 6 else 0.5
    return timm_sknet.SelectiveKernelBottleneck(
        c1,
        c2 // 4,
        downsample=timm_resnet.downsample_conv(c1, c2, 1) if c1 != c2 else None,
        cardinality=groups,
        base_width=int(256 * e) // groups,  # timm counts in 64ths of a quarter of the channels
        sk_kwargs={"split_input": False, "rd_channels": max(int(c2 * e) // 16, 32)},
    )


class PlainVanilla(nn.Module):
    """VanillaNet's block as its authors train it: nothing merged.

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    Args:
        c1: input channels.
        c2: output channels.
        s: stride, by max pooling.
    """

    def __init__(self, c1: int, c2: int, s: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(c1, c1, 1, bias=False), nn.BatchNorm2d(c1))
        self.conv2 = nn.Sequential(nn.Conv2d(c1, c2, 1, bias=False), nn.BatchNorm2d(c2))
        self.pool = nn.MaxPool2d(s) if s > 1 else nn.Identity()
        self.series = nn.Sequential(nn.Conv2d(c2, c2, 7, padding=3, groups=c2, bias=False), nn.BatchNorm2d(c2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve twice, pool and activate; the slope between the convolutions has reached 1."""
        x = self.conv2(F.leaky_relu(self.conv1(x), 1.0))
        return self.series(F.relu(self.pool(x)))


def _own_vanilla(key: str) -> str:
    place, layer, rest = key.split(".")
    layer = {"0": "conv", "1": "bn"}[layer]
    return f"act.series.{layer}.{rest}" if place == "series" else f"convs.{place}.{layer}.{rest}"


class PlainSK(nn.Module):
    """SKConv as its formulas read: a stack of branches, their sum, its mean, linear layers, softmax, weighted sum.

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out.
        g: groups.
        d: width of the squeeze.
    """

    def __init__(self, c: int, g: int, d: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, k, padding=k // 2, groups=g), nn.BatchNorm2d(c), nn.ReLU()) for k in (3, 5)
        )
        self.fc = nn.Linear(c, d)
        self.fcs = nn.ModuleList(nn.Linear(d, c) for _ in self.convs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Split, fuse and select."""
        maps = torch.stack([conv(x) for conv in self.convs], 1)
        z = self.fc(maps.sum(1).mean((2, 3)))
        weights = torch.stack([fc(z) for fc in self.fcs], 1).softmax(1)
        return (maps * weights[..., None, None]).sum(1)


REFERENCES = {
    "starnet": Reference(
        "StarNet", starnet.StarBlock, _star,
        lambda key: starnet.own_name(f"stages.0.1.{key}").removeprefix("stages.0.1.blocks.0."),
    ),
    "fasternet": Reference(
        "FasterNet", fasternet.FasterBlock, _faster,
        lambda key: fasternet.own_name(f"stages.0.blocks.0.{key}").removeprefix("stages.0.1.blocks.0."),
    ),
    "vanillanet": Reference(
        "VanillaNet", vanillanet.VanillaBlock, lambda c1, c2, row: PlainVanilla(c1, c2, int(row[1])), _own_vanilla,
    ),
    "skconv": Reference(
        "SK unit", sknet.SKUnit, _sk, lambda key: sknet.own_name(f"layer1.0.{key}").removeprefix("stages.0.0."),
    ),
}  # fmt: skip


def pairs(scale: str) -> Iterator[Pair]:
    """Return each family's stages at one scale letter, P2 to P5, and the plain SKConv as the SK units hold it."""
    for name, family in families().items():
        reference = REFERENCES.get(name)
        yield from _pairs(name, reference, scale) if reference else _unmerged(name, family.title, scale)
    for pair in _pairs("skconv", REFERENCES["skconv"], scale):
        yield _plain_sk(pair)


def _detector(name: str, scale: str) -> Any:
    return DetectionModel(f"yolov8{scale}-{name}.yaml", verbose=False)


def _unmerged(name: str, title: str, scale: str) -> Iterator[Pair]:
    """Return the rows that hold repeated blocks, each held to itself before merging."""
    detector = _detector(name, scale)
    x = torch.zeros(1, 3, IMAGE, IMAGE)
    for layer, (_, _, block, _) in zip(detector.model[_ROWS], detector.yaml["backbone"]):
        entered, x = x.shape, layer(x)
        known = registry.blocks().get(block)
        if known is not None and known.like == "C2f":
            _randomise(layer)
            level = f"P{round(math.log2(IMAGE / x.shape[-1]))}"
            yield Pair(title, level, Stage(layer), copy.deepcopy(layer), tuple(entered[1:]))


def _pairs(name: str, held: Reference, scale: str) -> Iterator[Pair]:
    detector = _detector(name, scale)
    x = torch.zeros(1, 3, IMAGE, IMAGE)
    parts: dict[str, list[tuple[nn.Module, list[nn.Module], torch.Size]]] = {}
    for layer, (*_, row) in zip(detector.model[_ROWS], detector.yaml["backbone"]):
        entered, x = x.shape, layer(x)
        ours = [module for module in layer.modules() if isinstance(module, held.block)]
        channels = [entered[1], *(x.shape[1] for _ in ours)]
        references = [held.reference(c1, c2, row) for c1, c2 in pairwise(channels)]
        for block, reference in zip(ours, references):
            _randomise(reference)
            state = reference.state_dict()
            block.load_state_dict({held.own_name(key): value for key, value in state.items()})
        if ours:
            level = f"P{round(math.log2(IMAGE / x.shape[-1]))}"
            parts.setdefault(level, []).append((layer, references, entered))
    for level, rows in parts.items():
        references = [block for _, blocks, _ in rows for block in blocks]
        channels, height, width = rows[0][2][1:]
        stage = Stage(*(layer for layer, *_ in rows))
        yield Pair(held.name, level, stage, nn.Sequential(*references), (channels, height, width))


def _plain_sk(pair: Pair) -> Pair:
    """Return the plain form of the convolution in an SK stage's first unit."""
    paper = next(module for module in pair.ours.modules() if isinstance(module, sknet.SKConv))
    conv = paper.branches[0].conv
    _, height, width = pair.shape
    d = paper.squeeze.conv.out_channels
    ours = sknet.SKConv(conv.in_channels, conv.out_channels, g=conv.groups, L=d, form="plain")
    reference = PlainSK(conv.in_channels, conv.groups, d)
    initialize_weights(ours)  # as a model does that holds it
    _randomise(reference)
    ours.load_state_dict(_own_sk(reference.state_dict()))
    return Pair("SKConv, plain", pair.level, Stage(ours), reference, (conv.in_channels, height, width))


def _own_sk(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {"0": "conv", "1": "bn"}
    own = {}
    for key, value in state.items():
        if key.startswith("convs."):
            _, i, layer, rest = key.split(".")
            own[f"branches.{i}.{names[layer]}.{rest}"] = value
    for rest in ("weight", "bias"):
        own[f"squeeze.{rest}"] = state[f"fc.{rest}"]
        own[f"select.{rest}"] = torch.cat([state[f"fcs.{i}.{rest}"] for i in range(2)])
    # Linear layers of ours are 1x1 convolutions.
    return {key: value[..., None, None] if value.ndim == 2 else value for key, value in own.items()}


@torch.no_grad()
def _randomise(reference: nn.Module) -> None:
    """Statistics of a trained network, with which a mistake in merging shows, under the settings of a YOLO's."""
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
