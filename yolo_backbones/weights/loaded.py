"""Weights that are on their way into a network, and the images that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

State = dict[str, torch.Tensor]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, one a channel, in 0..1

IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of one network, not yet in it.

    Attributes:
        state: the tensors, the first convolution already made to fit the image's channels. All of the network's, unless
            they come from a file that holds fewer.
        naming: whose names `state` uses: "own" for ours, or the publisher's, as `Family.naming` has it.
        classifier: those names in `state` that only classification needs.
        mean: of the images they were trained on, in 0..1, one a channel.
        std: likewise.
        origin: where they come from, for messages.
    """

    state: State
    naming: str
    classifier: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


def for_channels(normalisation: Normalisation, channels: int) -> Normalisation:
    """Adapt mean and standard deviation of red, green and blue to images of other channels.

    One channel gets the mean of the three; more than three repeat them, as the first convolution's weights are
    repeated.
    """
    mean, std = normalisation
    if channels == 1:
        return (sum(mean) / len(mean),), (sum(std) / len(std),)
    return tuple(mean[i % len(mean)] for i in range(channels)), tuple(std[i % len(std)] for i in range(channels))
