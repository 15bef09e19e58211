"""A published network of one of our families, at its published size."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch

from ..families import Family, Variant, family_of
from ..weights import fetch
from ..weights.fit import apply, fitted, part
from ..weights.loaded import IMAGENET, Normalisation, State, Weights, for_channels
from ..weights.read import Unusable, contents, state_dict
from .protocol import Features, Map, Strides, deepest
from .published import PublishedBackbone
from .timm import weights as in_timm

_PROBE = 256  # pixels; a multiple of every stride
_MOST_PARAMETERS = 1 << 29  # of a scaled network: 2 GB, and eight times the largest YOLOv8


class OwnBackbone(PublishedBackbone):
    """A variant of a family."""

    @property
    def family(self) -> Family:
        """The family that it is a variant of."""
        found = family_of(self.name)
        assert found is not None  # `find` made sure
        return found

    def maps(self) -> tuple[Map, ...]:
        """Implement `Backbone.maps`."""
        return maps(self)

    @property
    def variant(self) -> Variant:
        """The network, by its class and arguments."""
        found = self.family.variant(self.name, self.width, self.depth)
        return found if self.drop_path is None else found.with_drop_path(self.drop_path)

    def scaled(self, width: float, depth: float) -> OwnBackbone:
        """Implement `Backbone.scaled`."""
        found = replace(self, width=width, depth=depth)
        with torch.device("meta"):
            network = found.variant.build()
        count = sum(parameter.numel() for parameter in network.parameters())
        if count > _MOST_PARAMETERS:
            raise ValueError(
                f"{self.name} at width={width}, depth={depth} has {count:.2g} parameters, and a scaled network may "
                f"have {_MOST_PARAMETERS:.2g}; lower the factors"
            )
        return found

    def with_drop_path(self, rate: float) -> OwnBackbone:
        """Implement `Backbone.with_drop_path`."""
        try:
            self.variant.with_drop_path(rate)
        except ValueError as error:
            raise ValueError(f"{self.name}: drop_path={rate} cannot be had, since {error}; leave it out") from None
        return replace(self, drop_path=rate)

    def tags(self) -> tuple[str, ...]:
        """Return the tag of the authors' release, else timm's tags; see `Backbone.tags`."""
        release = self.family.release
        if (self.width, self.depth) != (1, 1):
            return ()
        if release is not None:
            return (release.tag,) if self.name in release.urls else ()
        return tuple(in_timm.published(self._name_in_timm))

    def trained_with(self, tag: str | None) -> Normalisation:
        """Return ImageNet's values, with which all variants were trained."""
        return IMAGENET

    def features(self, strides: Strides, channels: int, source: str | None) -> Features:
        """Implement `Backbone.features`."""
        weights = self.load(source, channels) if source else None
        body = OwnFeatures(self, strides, channels)
        if weights is not None:
            family = self.family
            apply(body.net, weights, family.own_name, self.name, family.classifier, family.unused)
        return body

    def from_tag(self, tag: str, channels: int) -> Weights:
        """Implement `PublishedBackbone.from_tag`."""
        release = self.family.release
        if release is None:
            return in_timm.from_tag(self.name, self._name_in_timm, tag, channels)
        full, url = f"{self.name}.{tag}", release.urls[self.name]
        fetched = fetch.from_url(full, url, url.rpartition("/")[2])
        try:
            return self._checked_weights(state_dict(fetched.contents), channels, url)
        except Unusable as error:
            raise fetched.refusal(error.reason) from None

    def from_file(self, path: Path, channels: int) -> Weights:
        """Implement `PublishedBackbone.from_file`."""
        return self._checked_weights(state_dict(contents(path)), channels, str(path))

    @property
    def _name_in_timm(self) -> str:
        return self.family.same_in_timm.get(self.name, self.name)

    def _checked_weights(self, state: State, channels: int, origin: str) -> Weights:
        family = self.family
        if family.merged & state.keys():
            raise Unusable(
                f"holds a {family.title} whose convolutions have been merged, which cannot be trained any further",
                "give the checkpoint from before merging (switch_to_deploy)",
            )
        with torch.device("meta"):
            network = self.variant.build(channels=channels)
        shapes = {key: value.shape for key, value in network.state_dict().items()}
        naming, renamed = family.naming, {key: family.own_name(key) for key in state}
        if sum(key in shapes for key in state) >= sum(key in shapes for key in renamed.values()):
            naming, renamed = "own", {key: key for key in state}
        first = next(key for key, shape in shapes.items() if len(shape) == 4)
        behind = {key for key in shapes if part(key) in family.unused | family.classifier}
        state = fitted(state, renamed, shapes, {first}, behind, channels)
        classifier = tuple(key for key in state if part(renamed[key]) in family.classifier)
        return Weights(state, naming, classifier, *for_channels(IMAGENET, channels), origin)


class OwnFeatures(Features):
    """A variant without its classifier.

    Shape:
        (B, c, H, W) -> one (B, channels[i], H / strides[i], W / strides[i]) for each stride

    Args:
        backbone: the variant.
        strides: the maps wanted, or "last" for the last one, of any stride.
        channels: channels of the image.

    Attributes:
        strides: of the maps.
        channels: of the maps.

    Raises:
        ValueError: the network has no map at one of the strides.
    """

    def __init__(self, backbone: OwnBackbone, strides: Strides, channels: int = 3) -> None:
        super().__init__()
        found = maps(backbone)
        places = deepest(found)
        if strides == "last":
            self.taps = [len(found) - 1]
        else:
            missing = [stride for stride in strides if stride not in places]
            if missing:
                real = sorted(places)
                reason = f"its maps have strides {real}" if real else "it pools every image to one fixed size"
                raise ValueError(
                    f"{backbone.name} has no map at stride {missing[0]}, which this base needs: {reason}; "
                    f"{'choose another backbone or base' if real else 'it serves classification (-cls) alone'}"
                )
            self.taps = [places[stride] for stride in strides]
        self.strides = tuple(found[i].stride or 0 for i in self.taps)
        self.channels = tuple(found[i].channels for i in self.taps)
        net = backbone.variant.build(channels=channels)
        net.drop_classifier()
        self.net = net

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Run the network."""
        found = self.net.forward_features(x)
        return [found[i] for i in self.taps]


@functools.cache
def maps(backbone: OwnBackbone) -> tuple[Map, ...]:
    """Find stride and channels of every map of a variant, on the meta device."""
    with torch.device("meta"), torch.no_grad():
        network = backbone.variant.build().eval()
        found = network.forward_features(torch.empty(1, 3, _PROBE, _PROBE))
    sizes = [x.shape[-1] for x in found]
    return tuple(Map(_PROBE // size if _PROBE % size == 0 else None, x.shape[1]) for size, x in zip(sizes, found))


def find(name: str) -> OwnBackbone | None:
    """Find the variant of that name; None if no family has one."""
    return OwnBackbone(name) if family_of(name) is not None else None
