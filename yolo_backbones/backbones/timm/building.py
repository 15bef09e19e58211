"""timm's feature networks, built, and loaded with weights of the whole network."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import nn

from ...layers.meta import Shapes
from .embeddings import resampled

# Held while timm loads weights: its loader is replaced for that time, in all threads.
loading = threading.Lock()


class FeatureNetwork(nn.Module):
    """A feature network of timm's, taken out of its wrapper.

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
        """Run the network as deep as its last map."""
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


def create(name: str, indices: Sequence[int], channels: int, **options: Any) -> nn.Module:
    """Build the feature network with the maps at `indices`, as timm does."""
    import timm

    wrapper = timm.create_model(name, features_only=True, out_indices=tuple(indices), in_chans=channels, **options)
    if hasattr(wrapper, "hooks"):
        # Copied and unpickled networks would keep the original's hooks. These networks can return the maps too.
        wrapper = timm.create_model(
            name, features_only=True, out_indices=tuple(indices), in_chans=channels, feature_cls="getter", **options
        )
    return FeatureNetwork(wrapper)


def with_stochastic_depth(name: str, options: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Return options of `create_model` that also ask for stochastic depth.

    Raises:
        ValueError: the network has none.
    """
    if not _has_stochastic_depth(name):
        raise ValueError(
            f"{name}: drop_path={rate} cannot be had, since its blocks have no stochastic depth; leave it out"
        )
    return {**options, "drop_path_rate": rate}


@functools.cache
def _has_stochastic_depth(name: str) -> bool:
    """Tell whether timm builds layers that drop a branch into a network; not all that take the option do."""
    import timm

    try:
        with torch.device("meta"), Shapes():
            whole = timm.create_model(name, drop_path_rate=0.1)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        return False
    return any(isinstance(module, timm.layers.DropPath) for module in whole.modules())


def create_with(
    state: Mapping[str, torch.Tensor], name: str, indices: Sequence[int], channels: int, options: Mapping[str, Any]
) -> tuple[nn.Module, list[str], tuple[str, ...], tuple[str, ...]]:
    """Build the network with weights; return also what these lack, what has no use, and what it does not know.

    timm's own loader does not report what it did not find. But only the loader is given the filter that renames old
    checkpoints and resizes position embeddings. So the loader is replaced while the network is built.

    Raises:
        ValueError: timm's filter does not know the weights' names.
    """
    builder = importlib.import_module("timm.models._builder")
    names: dict[int, str] = {}
    unused: list[str] = []

    def load_pretrained(model: nn.Module, *args: Any, filter_fn: Any = None, **options: Any) -> None:
        given = _apply_filter(dict(state), model, filter_fn)
        names.clear()
        for key, own in model.state_dict(keep_vars=True).items():
            value = given.get(key)
            if value is not None and value.shape != own.shape and "pos" in key:
                value = resampled(value, own.shape)
            if value is not None and value.shape == own.shape:
                with torch.no_grad():
                    own.copy_(value)
                names[id(own)] = key
        unused[:] = sorted(given.keys() - set(names.values()))

    with loading, mock.patch.object(builder, "load_pretrained", load_pretrained):
        try:
            net = create(name, indices, channels, pretrained=True, **options)
        except LookupError as error:  # the filter looks for tensors that are not there
            raise ValueError(f"{name}: its weights lack {error}; are these another network's?") from error
    kept = net.state_dict(keep_vars=True)
    # Some networks keep indices among their tensors. These follow from the size that the network is built for.
    missing = [key for key, value in kept.items() if id(value) not in names and value.is_floating_point()]
    needed = {id(value) for value in kept.values()}
    return net, missing, tuple(sorted(key for tensor, key in names.items() if tensor not in needed)), tuple(unused)


def _apply_filter(state: dict[str, torch.Tensor], model: nn.Module, filter_fn: Any) -> dict[str, torch.Tensor]:
    """Rename the weights as `model` names them, by timm's filter for it."""
    if filter_fn is None:
        return state
    try:
        return filter_fn(state, model)
    except TypeError:  # older filters do not take the model
        return filter_fn(state)
