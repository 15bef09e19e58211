"""Every network of timm as a backbone.

Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models; each network's paper stands in its
file there.
Differs from timm: nothing in the maps that a network has itself. The others come from `pyramid.py`.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from .fold import fold_batch_norms
from .merge import Mergeable
from .pyramid import SimpleFeaturePyramid, source
from .tracing import tracing

# Ultralytics' default image, which a network that admits one size alone is built for where it can be.
_IMGSZ = 640
# A network that runs on this rectangle, whose sides no window or block size divides, runs on all multiples of 32.
_ODD = (11 * 32, 19 * 32)

# Held while timm loads weights, since its loader is replaced for a while, and in all threads at once.
loading = threading.Lock()


@dataclass(frozen=True)
class Map:
    """A feature map that a network has itself.

    Attributes:
        index: its place among those that timm lists.
        pixels: of the image to one of the map's, as timm says.
        channels: its channels.
    """

    index: int
    pixels: int
    channels: int

    @property
    def stride(self) -> int:
        """The power of two nearest to `pixels`, which it serves as."""
        return _power(self.pixels)

    @property
    def scale(self) -> float:
        """What images are scaled by so that it does: 14/16 for patches of 14 pixels."""
        return self.pixels / self.stride


def _power(pixels: int) -> int:
    return int(2 ** round(math.log2(pixels)))


@dataclass(frozen=True)
class _Plan:
    """How a network is built so that it takes images.

    Attributes:
        options: of timm's `create_model`.
        imgsz: the one size it admits; None if any will do.
        exact: whether the maps have the size that their strides promise.
        least: the smallest side it admits, where it pads too little for any; None if it admits any.
        idle: parameters that the maps do not depend on.
        uncalled: modules with nothing but such, that are not even called.
    """

    options: Mapping[str, Any]
    imgsz: int | None
    exact: bool
    least: int | None
    idle: frozenset[str]
    uncalled: frozenset[str]


class _Features(nn.Module):
    """A feature network of timm's, whichever of its wrappers it comes in.

    Args:
        wrapper: what `create_model(..., features_only=True)` returned.

    Shape:
        (B, channels, H, W) -> maps in (B, c, H', W')
    """

    def __init__(self, wrapper: Any) -> None:
        super().__init__()
        # timm's getter keeps the network as `model`, a name that Ultralytics' freeze looks for in parameters' names.
        getter = hasattr(wrapper, "model")
        self.net: Any = wrapper.model if getter else wrapper
        self.indices = tuple(wrapper.out_indices) if getter else None
        self.norm = bool(getattr(wrapper, "norm", False)) if getter else False
        self.channels_last = getattr(wrapper, "output_fmt", None) == "NHWC"
        # Gemma's encoder reads the grid from the tokens' positions, which can neither be traced nor run on meta.
        tokens = getter and getattr(getattr(self.net, "encoder", self.net), "output_fmt", None) == "NLC"
        self.patch: int | None = wrapper.feature_info.reduction()[-1] if tokens else None

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Runs the network as deep as its last map."""
        if self.indices is not None:
            grid = [x.shape[-2] // self.patch, x.shape[-1] // self.patch] if self.patch else None
            maps = self.net.forward_intermediates(
                x,
                indices=list(self.indices),
                norm=self.norm,
                output_fmt="NLC" if grid else "NCHW",
                intermediates_only=True,
            )
            return [map.transpose(1, 2).unflatten(2, grid) for map in maps] if grid else maps
        maps = self.net(x)
        return [map.permute(0, 3, 1, 2) for map in maps] if self.channels_last else list(maps)


class TimmFeatures(Mergeable):
    """A timm network as a backbone: one map for each wanted stride.

    Of a network's own maps the last of a stride is taken, as it is. Strides that it lacks come from a
    `SimpleFeaturePyramid`. Layers that none of the maps depends on are left out.

    Strides that are no power of two pass for the nearest that is (14 for 16): the image is scaled by their ratio
    first, bilinearly, so that the grid comes out as if they were. A network that admits images of one size alone gets
    them scaled to it, `imgsz`, and its maps are scaled back.

    Shape:
        (B, channels, H, W), H and W multiples of 32 -> [(B, c, H / s, W / s) for c, s in zip(channels, strides)]

    Args:
        name: a timm architecture, without the tag of its weights.
        strides: the wanted ones, powers of two; "last": the network's last map alone, whatever its stride, for a
            classifier.
        channels: of the image.
        state: the weights of the whole classification network in timm's naming, adapted to `channels`. Position
            embeddings are resized as timm does it, or bicubically where it does not.

    Attributes:
        strides: of the returned maps.
        channels: of the returned maps.
        imgsz: the size that the network runs at inside, if it admits no other.
        own_strides: of the network's own maps, one map a stride.
        own_channels: of the network's own maps.
        missing: the network's parameters that `state` has nothing for, or something of another shape.
        left_out: names in `state` that the maps have no use for, the classifier's for example.
        unknown: names in `state` that the network does not have, or has in another shape.

    Raises:
        ValueError: timm has no such architecture, or none that runs here.
        ValueError: `state` is under names that timm can make no sense of.
    """

    def __init__(
        self,
        name: str,
        strides: Sequence[int] | Literal["last"] = (8, 16, 32),
        channels: int = 3,
        state: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        own = maps(name)
        self.name = name
        self.own_strides = tuple(map.pixels for map in own)
        self.own_channels = tuple(map.channels for map in own)
        self.c1 = channels
        self.merged = False
        last = strides == "last"
        if strides == "last":
            taken: tuple[Map, ...] = own[-1:]
            strides = (own[-1].stride,)
        else:
            needed = {source([map.stride for map in own], stride) for stride in strides}
            taken = tuple(map for map in own if map.stride in needed)
        # A classifier's image is as large as the one its weights were trained on, more or less.
        plan = _plan(name, tuple(map.index for map in taken), None if last else _IMGSZ)
        self.imgsz, self.least = plan.imgsz, plan.least
        self.patch = taken[0].pixels, taken[0].stride
        self.refit = not (plan.exact or last)
        self.taken = tuple(map.stride for map in taken)
        self.features, self.missing, self.left_out, self.unknown = _load(name, taken, channels, plan, state)
        self.pyramid = SimpleFeaturePyramid(self.taken, [map.channels for map in taken], strides)
        self.strides = tuple(strides)
        self.channels = self.pyramid.channels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Finds the maps."""
        height, width = x.shape[-2:]
        x = self.fit(x)
        found = self._traced(x) if tracing() else self.features(x)
        if self.refit:
            found = [_resize(map, height // s, width // s) for map, s in zip(found, self.taken)]
        return self.pyramid(found)

    @torch.no_grad()
    def merge(self) -> None:
        """Merges parallel branches as timm has it (RepVGG, FastViT, ...), and BatchNorm into convolutions."""
        if self.merged:
            return
        from timm.utils import reparameterize_model

        weight = next(self.features.parameters())
        dtype, device = weight.dtype, weight.device
        self.features.float()  # timm's merged layers are not all built in the network's precision, or on its device
        reparameterize_model(self.features, inplace=True)
        self.features.to(device)
        fold_batch_norms(self.features, self.fit(torch.empty(1, self.c1, *_ODD, device="meta")))
        self.features.to(dtype).train(self.training)
        self.merged = True

    def fit(self, x: torch.Tensor) -> torch.Tensor:
        """Scales the image to a size that the network admits."""
        height, width = x.shape[-2:]
        pixels, stride = self.patch
        if self.imgsz is not None:
            return _resize(x, self.imgsz, self.imgsz)
        if pixels != stride:
            return _resize(x, height * pixels // stride, width * pixels // stride)
        if self.least is not None and not tracing() and min(height, width) < self.least:
            return _resize(x, max(height, self.least), max(width, self.least))
        return x

    def _traced(self, x: torch.Tensor) -> list[torch.Tensor]:
        with warnings.catch_warnings(), _Traceable():
            # Sizes become constants, as is meant.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            return self.features(x)


def _resize(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, (height, width), mode="bilinear")


class _Traceable(TorchFunctionMode):
    """Puts what timm's position embeddings do, and exporters do not know or get wrong, into other words for a trace.

    Antialiased bicubic resizing, which ONNX has from opset 18 on, becomes two products with constants. Repeating each
    channel of rotary embeddings becomes an expansion: torch's exporter to ONNX writes another shape than it means.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.interpolate and kwargs.get("mode") == "bicubic" and kwargs.get("antialias"):
            x, size = args[0], kwargs["size"]
            rows, columns = (_bicubic(int(old), int(new)).to(x) for old, new in zip(x.shape[-2:], size))
            return rows @ x @ columns.T
        if func is torch.Tensor.repeat_interleave and len(args) == 3 and type(args[1]) is int:
            x, times, dim = args
            dim = dim % x.ndim
            sizes = [times if i == dim + 1 else -1 for i in range(x.ndim + 1)]
            return x.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)
        return func(*args, **kwargs)


@functools.cache
def _bicubic(old: int, new: int) -> torch.Tensor:
    """The matrix, (new, old), of antialiased bicubic resizing along one side: Keys' kernel at a = -1/2."""
    scale = old / new
    rows = []
    for i in range(new):
        distances = [abs((j - (i + 0.5) * scale + 0.5) / max(scale, 1)) for j in range(old)]
        row = [
            1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0
            for d in distances
        ]
        rows.append([weight / sum(row) for weight in row])
    return torch.tensor(rows)


class Shapes(TorchFunctionMode):
    """For building on the meta device: nothing is drawn or filled in, which takes most of the time there.

    Only without gradients, as initialisation is: where they are followed, an addition in place is part of the network.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _FILLING and args and args[0].is_meta and not torch.is_grad_enabled():
            return args[0]
        return func(*args, **(kwargs or {}))


_FILLING = {"add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "sub_", "uniform_", "zero_"}


def has(name: str) -> bool:
    """Whether timm has a network of that name."""
    import timm

    return "." not in name and timm.is_model(name)  # which cuts a tag off by itself


@functools.cache
def maps(name: str) -> tuple[Map, ...]:
    """The maps that a network has itself, one a stride, finest first.

    Raises:
        ValueError: timm has no such architecture.
    """
    import timm

    if not has(name):
        raise ValueError(f"timm {timm.__version__} has no architecture {name!r}; `timm.list_models()` names them")
    with torch.device("meta"), Shapes():
        info = timm.create_model(name, features_only=True).feature_info.info
    found: dict[int, Map] = {}
    for index, each in enumerate(info):
        found[_power(each["reduction"])] = Map(index, each["reduction"], each["num_chs"])
    return tuple(found[stride] for stride in sorted(found))


def _create(name: str, indices: Sequence[int], channels: int, **options: Any) -> nn.Module:
    """The feature network with the maps at `indices`, as timm builds it."""
    import timm

    wrapper = timm.create_model(name, features_only=True, out_indices=tuple(indices), in_chans=channels, **options)
    if hasattr(wrapper, "hooks"):
        # Hooks of copies and of unpickled networks would not be theirs. These networks can return the maps as well.
        wrapper = timm.create_model(
            name, features_only=True, out_indices=tuple(indices), in_chans=channels, feature_cls="getter", **options
        )
    return _Features(wrapper)


@functools.cache
def _plan(name: str, indices: tuple[int, ...], imgsz: int | None) -> _Plan:
    """Finds out how a network is built so that it takes images, by trying on the meta device.

    Args:
        name: the architecture.
        indices: of the maps.
        imgsz: the size to come near to if one alone is admitted; None for the one of the published weights.

    Raises:
        ValueError: no way was found.
    """
    taken = [map for map in maps(name) if map.index in indices]
    refused = "nothing"
    built: dict[str, nn.Module] = {}
    for options, size in _attempts(name, taken[0].scale, imgsz):
        try:
            key = repr(options)
            if key not in built:
                with torch.device("meta"), Shapes():
                    lost: list[str] = []
                    if "img_size" in options:
                        net, lost, _, _ = _create_with(_published(name), name, indices, 3, options)
                    else:
                        net = _create(name, indices, 3, **options)
                    built = {key: net.eval()}
            net = built[key]
            sides = (size, size) if size else tuple(round(side * taken[0].scale) for side in _ODD)
            exact, idle, uncalled = _try(net, taken, sides, near=size not in {None, _native(name)})
            if set(lost) - idle:
                raise ValueError(f"weights of another size do not fit: {min(set(lost) - idle)}")
            exact = exact and size is None
            return _Plan(options, size, exact, None if exact or size else _least(net), idle, uncalled)
        except Exception as error:  # an option, a size, weights that do not fit: each network has its own way to say so
            refused = f"{type(error).__name__}: {error}"
    raise ValueError(f"{name}: runs at no size that was tried; the last answer was {refused}")


def _attempts(name: str, scale: float, imgsz: int | None) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Options to build a network with, and the size to try it at; None stands for any."""
    yield {"dynamic_img_size": True}, None
    yield {}, None
    yield {"global_pool": ""}, None  # Gemma's pooling, which is left out here, would admit multiples of 48 alone
    native = _native(name)
    if imgsz is not None:
        step = round(32 * scale)
        grid = _nearest(imgsz, range(step, 2 * imgsz, step))
        multiples = _nearest(imgsz, range(native, 2 * imgsz, native))  # two grids that fit each other, as CrossViT's
        for size in _nearest(imgsz, {*grid[:3], *multiples[:2]}):
            yield {"img_size": size}, size
        for size in _nearest(imgsz, {*grid[:9], *multiples}):
            yield {}, size
    yield {}, native


def _native(name: str) -> int:
    """The size of the images that the published weights were trained on."""
    import timm

    return timm.get_pretrained_cfg(name).input_size[-1]


def _nearest(size: int, sizes: Iterable[int]) -> list[int]:
    """The sizes from the nearest to `size` on, the smaller of two first."""
    return sorted(sizes, key=lambda other: (abs(other - size), other))


def _published(name: str) -> dict[str, torch.Tensor]:
    """What weights of the network look like."""
    import timm

    return timm.create_model(name).state_dict()


def _least(net: nn.Module) -> int | None:
    """The smallest side of an image that a network runs on, if it is more than 32."""
    for side in range(32, 2 * min(_ODD), 32):
        try:
            with torch.no_grad():
                net(torch.empty(1, 3, side, side, device="meta"))
        except RuntimeError:  # a kernel larger than its map
            continue
        break
    return side if side > 32 else None


def _try(
    net: nn.Module, taken: Sequence[Map], size: tuple[int, ...], near: bool
) -> tuple[bool, frozenset[str], frozenset[str]]:
    """Runs the network at `size`: whether the maps have the promised size, and the rest of a `_Plan`.

    Args:
        net: the network, on the meta device.
        taken: its maps.
        size: height and width.
        near: whether they may be off by a pixel at most, or else, as in networks that do not pad, by half a power of
            two.

    Raises:
        ValueError: they are not.
    """
    called: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda module, _: called.add(module)) for m in net.modules()]
    try:
        with torch.enable_grad():
            found = net(torch.empty(1, 3, *size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    exact = True
    for got, map in zip(found, taken, strict=True):
        pairs = [(n, side / map.pixels) for n, side in zip(got.shape[2:], size)]
        fits = all(abs(n - wanted) <= 1 if near else abs(math.log2(n / wanted)) < 0.5 for n, wanted in pairs)
        if got.shape[1] != map.channels or not fits:
            raise ValueError(f"a map of {tuple(got.shape)} where timm says {map.channels} at stride {map.pixels}")
        exact = exact and all(n == wanted for n, wanted in pairs)
    used = set(leaves(found))
    idle = frozenset(key for key, parameter in net.named_parameters() if parameter not in used)
    uncalled = set()
    for key, module in net.named_modules():
        own = {f"{key}.{name}" for name, _ in module.named_parameters()}
        if own and own <= idle and not called.intersection(module.modules()):
            uncalled.add(key)
    return exact, idle, frozenset(uncalled)


def leaves(outputs: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """What the outputs depend on and gradients gather in."""
    todo: list[Any] = [output.grad_fn for output in outputs]
    seen = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        todo += [following for following, _ in node.next_functions]


def _load(
    name: str, taken: Sequence[Map], channels: int, plan: _Plan, state: Mapping[str, torch.Tensor] | None
) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The network as planned, with the weights in `state`: what these lack, what has no use, what is unknown."""
    indices = [map.index for map in taken]
    if state is None:
        net = _create(name, indices, channels, **plan.options)
        missing: tuple[str, ...] = ()
        left_out: tuple[str, ...] = ()
        unknown: tuple[str, ...] = ()
    else:
        net, lost, left_out, unknown = _create_with(state, name, indices, channels, plan.options)
        missing = tuple(key for key in lost if key not in plan.idle)
    _leave_out(net, plan)
    return net, missing, left_out, unknown


def _leave_out(net: nn.Module, plan: _Plan) -> None:
    """Takes out what no map depends on: in distributed training every parameter must receive a gradient."""
    for key in sorted(plan.uncalled):
        parent, _, name = key.rpartition(".")
        try:
            setattr(net.get_submodule(parent), name, nn.Identity())
        except AttributeError:  # it went with its parent
            continue
    for key, parameter in list(net.named_parameters()):
        if key in plan.idle:  # but the forward pass reads it all the same, for a class token's last update for example
            parent, _, name = key.rpartition(".")
            delattr(net.get_submodule(parent), name)
            net.get_submodule(parent).register_buffer(name, parameter.detach())


def _create_with(
    state: Mapping[str, torch.Tensor], name: str, indices: Sequence[int], channels: int, options: Mapping[str, Any]
) -> tuple[nn.Module, list[str], tuple[str, ...], tuple[str, ...]]:
    """As `_create`, with weights; also what these lack, what of them has no use, and what the network does not know.

    timm's own loader says nothing of what it did not find, but only within it is the filter known that renames old
    checkpoints and resizes position embeddings. So it is replaced while the network is built.

    Raises:
        ValueError: the weights are not even under names that timm can make sense of.
    """
    builder = importlib.import_module("timm.models._builder")
    names: dict[int, str] = {}
    unused: list[str] = []

    def load_pretrained(model: nn.Module, *args: Any, filter_fn: Any = None, **options: Any) -> None:
        given = _filtered(dict(state), model, filter_fn)
        names.clear()
        for key, own in model.state_dict(keep_vars=True).items():
            value = given.get(key)
            if value is not None and value.shape != own.shape and "pos" in key:
                value = _resampled(value, own.shape)
            if value is not None and value.shape == own.shape:
                with torch.no_grad():
                    own.copy_(value)
                names[id(own)] = key
        unused[:] = sorted(given.keys() - set(names.values()))

    with loading, mock.patch.object(builder, "load_pretrained", load_pretrained):
        try:
            net = _create(name, indices, channels, pretrained=True, **options)
        except LookupError as error:  # the filter looks for tensors that are not there
            raise ValueError(f"{name}: its weights lack {error}; are these another network's?") from error
    kept = net.state_dict(keep_vars=True)
    # Indices, which some networks keep among their tensors, follow from the size they were built for.
    missing = [key for key, value in kept.items() if id(value) not in names and value.is_floating_point()]
    needed = {id(value) for value in kept.values()}
    return net, missing, tuple(sorted(key for tensor, key in names.items() if tensor not in needed)), tuple(unused)


def _filtered(state: dict[str, torch.Tensor], model: nn.Module, filter_fn: Any) -> dict[str, torch.Tensor]:
    """The weights under the names that `model` has, as timm's filter for it sees to it."""
    if filter_fn is None:
        return state
    try:
        return filter_fn(state, model)
    except TypeError:  # older filters know nothing of the model
        return filter_fn(state)


def _resampled(value: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Position embeddings at another resolution, where timm's own filter leaves them; None if they are no such grid.

    The grid is two dimensions of four, next to each other, or a square in one, behind up to two tokens of a class, or a
    line in one (offsets along a side).

    Args:
        value: the embeddings.
        shape: what to bring them to.
    """
    others = [d for d, (n, m) in enumerate(zip(value.shape, shape)) if n != m]
    if value.ndim != len(shape) or not others or others[-1] - others[0] != len(others) - 1:
        return None
    if len(others) > (2 if value.ndim == 4 else 1):
        return None
    first = others[0]
    if len(others) == 2:
        tokens, old, new = 0, tuple(value.shape[first : first + 2]), tuple(shape[first : first + 2])
    else:
        n, m = value.shape[first], shape[first]
        squares = (k for k in range(3) if all(k < i and math.isqrt(i - k) ** 2 == i - k for i in (n, m)))
        tokens = next(squares, 0)
        sides = math.isqrt(n - tokens), math.isqrt(m - tokens)
        is_square = sides[0] ** 2 == n - tokens and sides[1] ** 2 == m - tokens
        old, new = ((sides[0],) * 2, (sides[1],) * 2) if is_square else ((1, n), (1, m))
    grid = value.flatten(first, others[-1]).movedim(first, -1)
    kept, grid = grid[..., :tokens], grid[..., tokens:]
    planes = grid.reshape(1, -1, *old).float()
    resized = F.interpolate(planes, new, mode="bicubic", antialias=True).to(value.dtype)
    grid = torch.cat((kept, resized.reshape(*grid.shape[:-1], -1)), -1).movedim(-1, first)
    return grid.reshape(shape)
