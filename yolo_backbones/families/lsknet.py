"""LSKNet: large kernels, weighted against each other at each pixel.

Li et al., "Large Selective Kernel Network for Remote Sensing Object Detection", ICCV 2023.
https://arxiv.org/abs/2303.09030
Differs from the paper: in the published variants, initial values: of the gates, see `SelectiveKernel`, and of the
feed-forward networks' depthwise convolutions, which start near the identity. In a YAML row, convolutions before a
BatchNorm have no bias by default, since BatchNorm would cancel it, and a stage whose channels change begins with a 1x1
convolution.
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
from ..layers.fold import set_weights
from ..layers.in_place import activate, add, multiply
from ..layers.initialisation import start_as_identity
from ..layers.memory_format import channels_last
from ..layers.merge import Mergeable, rewriting, scale_and_shift
from ..layers.prunable import Prunable, keep_inputs, keep_outputs
from ..layers.stochastic_depth import drop_path as _drop_path
from ..layers.stochastic_depth import linear_rates
from ..layers.tracing import exporting
from ..registry import register
from .contract import Family, Oracle, Release, Variant

# The product of two half-precision numbers may overflow where neither does. So one factor is scaled down, and the next
# convolution's weights up. A power of two changes no bit of the result.
_HALF_SCALE = 64


@register(like="Conv")
class LSKEmbed(EntryConvBN):
    """Overlapping patch embedding: a convolution with a kernel wider than its stride, and BatchNorm (paper, Sec. 3).

    Shape:
        (B, c1, H, W) -> (B, c2, H/s, W/s)

    YAML:
        - [-1, 1, LSKEmbed, [256]]  # [c2, k=3, s=2, bias=False]

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
        checks.convolution("LSKEmbed", c1, c2, k, s, bias)
        super().__init__(c1, c2, k, s, bias=bias)


class GappedConv(nn.Conv2d):
    """Depthwise convolution with dilation, whose output is as large as its input.

    On the CPU it runs without dilation, on `d`^2 smaller maps: every `d`-th row and column, from each start. oneDNN
    took 20 to 30 times as long for the same with dilation.

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out.
        k: kernel size, an odd number.
        d: dilation.
    """

    def __init__(self, c: int, k: int, d: int) -> None:
        super().__init__(c, c, k, padding=k // 2 * d, dilation=d, groups=c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve `x`."""
        if exporting() or not x.is_cpu:
            return super().forward(x)
        (b, c, height, width), (d, _) = x.shape, self.dilation
        if height % d or width % d:
            x = F.pad(x, (0, -width % d, 0, -height % d))
        h, w = -(-height // d), -(-width // d)
        # (B, c, h d, w d) -> (d d B, c, h, w) and back
        x = x.permute(0, 2, 3, 1).reshape(b, h, d, w, d, c).permute(2, 4, 0, 1, 3, 5)
        x = x.reshape(d * d * b, h, w, c).permute(0, 3, 1, 2)
        x = F.conv2d(x, self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=c)
        x = x.permute(0, 2, 3, 1).reshape(d, d, b, h, w, c).permute(2, 3, 0, 4, 1, 5)
        return x.reshape(b, h * d, w * d, c).permute(0, 3, 1, 2)[..., :height, :width]


class SelectiveKernel(Prunable):
    """Two depthwise kernels of different reach, weighted at each pixel (paper, Sec. 3).

    The first is 5x5. The second, on its output, is 7x7 with dilation 3: together they cover 23 pixels. Mean and maximum
    over the channels of both maps give, through a 7x7 convolution and a sigmoid, the weight of each map at each pixel.
    The weighted sum is multiplied with the input.

    Shape:
        (B, c, H, W) -> (B, c, H, W), in half precision divided by `_HALF_SCALE`

    Args:
        c: channels in and out, an even number.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(c, c, 5, padding=2, groups=c)
        self.far = GappedConv(c, 7, 3)
        self.reduce_near = nn.Conv2d(c, c // 2, 1)
        self.reduce_far = nn.Conv2d(c, c // 2, 1)
        self.select = nn.Conv2d(2, 2, 7, padding=3)
        self.expand = nn.Conv2d(c // 2, c, 1)
        # All gates start near 1. Random ones would grow with the input, and the product with its square, which
        # overflows half precision until BatchNorm has learned statistics.
        nn.init.trunc_normal_(self.expand.weight, std=1e-3)
        nn.init.ones_(_bias(self.expand))
        self.scaled = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Gate `x`."""
        near = self.near(x)
        far = self.reduce_far(self.far(near))
        near = self.reduce_near(near)
        # Over the channels of both maps, without joining the maps.
        mean = 0.5 * (near.mean(1, keepdim=True) + far.mean(1, keepdim=True))
        peak = torch.maximum(near.amax(1, keepdim=True), far.amax(1, keepdim=True))
        to_near, to_far = self.select(torch.cat((mean, peak), 1)).sigmoid().split(1, 1)
        gate = self.expand(multiply(near, to_near, self.reduce_near) + multiply(far, to_far, self.reduce_far))
        if self.scales(gate):
            gate = gate / _HALF_SCALE
        return multiply(gate, x, self.expand)

    def scales(self, x: torch.Tensor) -> bool:
        """Tell whether `forward` scales the product down, rather than the merged weights."""
        return x.dtype is torch.float16 and not self.scaled

    @property
    def width(self) -> int:
        """Channels in and out."""
        return self.near.out_channels

    def keep(self, channels: Sequence[int]) -> None:
        """Remove all channels but these; of the reduced maps the weakest, so that they stay half as wide."""
        for conv in (self.near, self.far, self.expand):
            keep_outputs(conv, channels)
        for conv in (self.reduce_near, self.reduce_far):
            keep_inputs(conv, channels)
        half = min(max(1, len(channels) // 2), self.expand.in_channels)
        weights = self.reduce_near.weight, self.reduce_far.weight, self.expand.weight.transpose(0, 1)
        strength = torch.stack([weight.detach().flatten(1).norm(dim=1) for weight in weights]).prod(0)
        strongest = sorted(strength.topk(half).indices.tolist())
        keep_outputs(self.reduce_near, strongest)
        keep_outputs(self.reduce_far, strongest)
        keep_inputs(self.expand, strongest)


class LSKBlock(Mergeable):
    """Attention by selective kernels, then a feed-forward network, each with a shortcut (paper, Sec. 3).

    Shape:
        (B, c, H, W) -> (B, c, H, W)

    Args:
        c: channels in and out, an even number.
        mlp_ratio: channels inside the feed-forward network, as a multiple of `c`.
        drop_path: probability of dropping a branch in training.
        layer_scale: initial value of each branch's learned factor for each channel.
        act: activation of both branches.
    """

    def __init__(
        self, c: int, mlp_ratio: float = 4, drop_path: float = 0.0, layer_scale: float = 0.01, act: str = "gelu"
    ) -> None:
        super().__init__()
        hidden = int(c * mlp_ratio)
        self.norm1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(c)
        self.proj1 = nn.Conv2d(c, c, 1)
        self.kernel = SelectiveKernel(c)
        self.proj2 = nn.Conv2d(c, c, 1)
        self.scale1 = nn.Parameter(torch.full((c,), float(layer_scale)))
        self.norm2: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(c)
        self.fc1 = nn.Conv2d(c, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        start_as_identity(self.dwconv)
        self.fc2 = nn.Conv2d(hidden, c, 1)
        self.scale2 = nn.Parameter(torch.full((c,), float(layer_scale)))
        self.act = checks.activation("LSKStage", act)
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both branches to `x`, one after the other."""
        y = self.norm1(x)
        z = self.kernel(activate(self.act, self.proj1(y), self.proj1))
        if isinstance(self.norm1, nn.Identity):  # merged
            x = self.proj2(z) + x * self.shortcut
            return add(self._feed_forward(x), x, self.fc2)
        # The attention's own shortcut adds the normalised input.
        if self.kernel.scales(z):
            x = x + self.drop_path(self._project_scaled(z) + y * self.scale1[:, None, None])
        else:
            z = self.drop_path(add(self.proj2(z), y, self.proj2))
            x = torch.addcmul(x, z, self.scale1[:, None, None])
        return torch.addcmul(x, self.drop_path(self._feed_forward(self.norm2(x))), self.scale2[:, None, None])

    def _feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(activate(self.act, self.dwconv(self.fc1(x)), self.dwconv))

    def _project_scaled(self, z: torch.Tensor) -> torch.Tensor:
        """Apply `proj2` and the layer scale in one step to the scaled product, which may overflow between the two."""
        scale = self.scale1
        weight = self.proj2.weight * (scale * _HALF_SCALE)[:, None, None, None]
        return F.conv2d(z, weight.to(z.dtype), (_bias(self.proj2) * scale).to(z.dtype))

    @rewriting
    def merge(self) -> None:
        """Move both BatchNorms, both layer scales and the scaling that half precision needs into the convolutions.

        With BatchNorm as `a * x + b`, the two shortcuts around the attention become `x * (1 + scale1 * a)`.
        """
        norm1, norm2 = self.norm1, self.norm2
        if isinstance(norm1, nn.Identity) or isinstance(norm2, nn.Identity):
            return
        a, b = scale_and_shift(norm1)
        down = torch.full_like(a, 1 / _HALF_SCALE)
        _fold_before(self.proj1, a, b)
        _fold_after(self.kernel.expand, down)
        _fold_before(self.proj2, 1 / down)
        _fold_after(self.proj2, self.scale1, self.scale1 * b)
        _fold_before(self.fc1, *scale_and_shift(norm2))
        _fold_after(self.fc2, self.scale2)
        self.shortcut = nn.Parameter((1 + self.scale1 * a)[:, None, None].to(self.scale1), requires_grad=False)
        self.norm1, self.norm2 = nn.Identity().train(self.training), nn.Identity().train(self.training)
        self.kernel.scaled = True
        del self.scale1, self.scale2


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    assert conv.bias is not None  # every convolution of a block has one
    return conv.bias


def _fold_before(conv: nn.Conv2d, scale: torch.Tensor, shift: torch.Tensor | None = None) -> None:
    """Fold a scale and shift of its input into a 1x1 convolution."""
    bias, matrix = _bias(conv), conv.weight.flatten(1).to(scale)
    set_weights(conv, conv.weight * scale[:, None, None], bias if shift is None else bias + matrix @ shift)


def _fold_after(conv: nn.Conv2d, scale: torch.Tensor, shift: torch.Tensor | None = None) -> None:
    """Fold a scale and shift of its output into a convolution."""
    bias = _bias(conv) * scale
    set_weights(conv, conv.weight * scale[:, None, None, None], bias if shift is None else bias + shift)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel.

    It is torch's own LayerNorm on a view with the channels innermost. That sums in single precision and is an operator
    of ONNX, where it took a third to a half of the time of one written out over the second dimension.

    Shape:
        (B, c, H, W) -> (B, c, H, W), in the same order in memory
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each pixel."""
        y = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y.contiguous() if x.is_contiguous() and not exporting() else y


@register(like="C2f")
class LSKStage(nn.Module):
    """A 1x1 convolution where the channels change, `n` blocks at one resolution, and a LayerNorm (paper, Sec. 3).

    Shape:
        (B, c1, H, W) -> (B, c2, H, W)

    YAML:
        - [-1, 3, LSKStage, [256]]  # [c2, mlp_ratio=4, drop_path=0.0, layer_scale=0.01, act="gelu", norm=True]

    Args:
        c1: input channels; Ultralytics fills it in.
        c2: output channels, after width scaling.
        n: number of blocks, after depth scaling.
        mlp_ratio: channels inside a block's feed-forward network, as a multiple of `c2`.
        drop_path: probability of dropping a block's branches in training; one number, or a list of n.
        layer_scale: initial value of each branch's learned factor for each channel.
        act: activation of both branches, a name from `checks.ACTIVATIONS`.
        norm: LayerNorm behind the blocks, as in the paper. It cannot be merged; a detector's next convolutions have
            BatchNorm of their own.

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
        layer_scale: float = 0.01,
        act: str = "gelu",
        norm: bool = True,
    ) -> None:
        super().__init__()
        checks.flag("LSKStage", norm=norm)
        checks.whole("LSKStage", c1=c1, c2=c2, n=n)
        if c2 % 2:
            raise ValueError(f"LSKStage: c2={c2} has to be even, a half for each kernel; change the YAML row or width")
        checks.share("LSKStage", c2, "c2", mlp_ratio=mlp_ratio)
        checks.positive("LSKStage", layer_scale=layer_scale)
        rates = checks.rates("LSKStage", drop_path, n)
        self.proj = ConvBN(c1, c2) if c1 != c2 else nn.Identity()
        self.blocks = nn.Sequential(*(LSKBlock(c2, mlp_ratio, rate, layer_scale, act) for rate in rates))
        self.norm = ChannelNorm(c2, eps=1e-6) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the blocks and normalise."""
        return self.norm(self.blocks(self.proj(channels_last(x))))


class LSKNet(nn.Module):
    """A published LSKNet, for classification (paper, Sec. 3).

    Args:
        embed_dims: channels of each stage.
        depths: blocks in each stage.
        mlp_ratios: channels inside each stage's feed-forward networks, as a multiple of the stage's.
        drop_path: stochastic depth's rate at the last block; it rises from 0 at the first.
        num_classes: classes.
        channels: channels of the image.
    """

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        drop_path: float = 0.0,
        num_classes: int = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        c1 = channels
        for c2, n, mlp_ratio, rates in zip(embed_dims, depths, mlp_ratios, linear_rates(drop_path, depths)):
            k, s = (3, 2) if stages else (7, 4)
            stages.append(nn.Sequential(LSKEmbed(c1, c2, k, s, bias=True), LSKStage(c2, c2, n, mlp_ratio, rates)))
            c1 = c2
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(c1, num_classes)

    def drop_classifier(self) -> None:
        """Remove the layers after the last stage."""
        del self.head

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the four stages' maps, at strides 4, 8, 16 and 32, from (B, channels, H, W)."""
        return [x := stage(x) for stage in self.stages]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify: (B, channels, H, W) -> (B, num_classes)."""
        return self.head(self.forward_features(x)[-1].mean((2, 3)))


# The authors' names of parts and this package's, replaced in this order.
_PARTS = {
    "layer_scale_": "scale",
    "attn.proj_": "proj",
    "attn.spatial_gating_unit.conv0.": "kernel.near.",
    "attn.spatial_gating_unit.conv_spatial.": "kernel.far.",
    "attn.spatial_gating_unit.conv1.": "kernel.reduce_near.",
    "attn.spatial_gating_unit.conv2.": "kernel.reduce_far.",
    "attn.spatial_gating_unit.conv_squeeze.": "kernel.select.",
    "attn.spatial_gating_unit.conv.": "kernel.expand.",
    "mlp.dwconv.dwconv.": "dwconv.",
    "mlp.fc": "fc",
}


def own_name(key: str) -> str:
    """Translate a parameter's name in the authors' network to this package's."""
    part = re.match(r"(patch_embed|block|norm)(\d)\.", key)
    if part is None:
        return key
    rest = key[part.end() :]
    stage = f"stages.{int(part[2]) - 1}"
    if part[1] == "patch_embed":
        return f"{stage}.0.{rest.replace('proj.', 'conv.').replace('norm.', 'bn.')}"
    if part[1] == "norm":
        return f"{stage}.1.norm.{rest}"
    for published, own in _PARTS.items():
        rest = rest.replace(published, own)
    return f"{stage}.1.blocks.{rest}"


_RELEASE = "https://download.openmmlab.com/mmrotate/v1.0/lsknet/backbones"

# Figures: the paper and https://github.com/zcablii/LSKNet; parameters counted on their code.
FAMILY = Family(
    name="lsknet",
    title="LSKNet",
    summary="large kernels, weighed pixel by pixel",
    variants={
        "lsknet_t": Variant(
            LSKNet, {"embed_dims": (32, 64, 160, 256), "depths": (3, 3, 5, 2), "drop_path": 0.1}, 4_247_190
        ),
        "lsknet_s": Variant(
            LSKNet, {"embed_dims": (64, 128, 320, 512), "depths": (2, 2, 4, 2), "drop_path": 0.1}, 14_353_892
        ),
    },
    own_name=own_name,
    naming="authors",
    release=Release(
        page="https://github.com/zcablii/LSKNet",
        urls={
            "lsknet_t": f"{_RELEASE}/lsk_t_backbone-2ef8a593.pth",
            "lsknet_s": f"{_RELEASE}/lsk_s_backbone-e9d2e551.pth",
        },
    ),
    oracle=Oracle("lsknet_tiny.npz", network=lambda: LSKNet((8, 16, 24, 32), (1, 2, 1, 1), (4, 4, 2, 2))),
    widths="embed_dims",
    depths="depths",
    operators=frozenset({"LayerNormalization", "Max", "ReduceMax", "ReduceMean", "Relu", "Transpose"}),
    also_called=dict.fromkeys(("lskblock", "lskmodule", "lsknetblock"), "LSKStage"),
)
