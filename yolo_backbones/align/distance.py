"""Distance of a student's maps from its teacher's, in units of what varies in the teacher's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

# A channel that hardly varies says nothing; in units of its own deviation it would say most.
_LEAST = 0.05  # of the mean deviation of a map's channels


class Moments:
    """Mean and variance of each channel of several maps, summed up batch by batch."""

    def __init__(self) -> None:
        self._pixels: list[int] = []
        self._sums: list[torch.Tensor] = []
        self._squares: list[torch.Tensor] = []

    def add(self, maps: Iterable[torch.Tensor]) -> None:
        """Take in a batch: (B, c, H, W) each."""
        for i, x in enumerate(maps):
            x = x.detach().float()
            if i == len(self._pixels):
                self._pixels.append(0)
                self._sums.append(torch.zeros(x.shape[1], dtype=torch.double))
                self._squares.append(torch.zeros(x.shape[1], dtype=torch.double))
            self._pixels[i] += x.shape[0] * x.shape[2] * x.shape[3]
            self._sums[i] += _by_channel(x)
            self._squares[i] += _by_channel(x.square())

    def variances(self) -> list[torch.Tensor]:
        """Return each channel's variance, (c,) for each map."""
        return [
            (squares / pixels - (total / pixels).square()).clamp(min=0)
            for pixels, total, squares in zip(self._pixels, self._sums, self._squares)
        ]

    def mean_squares(self) -> list[torch.Tensor]:
        """Return the mean of each channel's squares, (c,) for each map."""
        return [squares / pixels for pixels, squares in zip(self._pixels, self._squares)]

    def deviations(self) -> list[torch.Tensor]:
        """Return each channel's standard deviation, (c,) for each map; none is below a twentieth of their mean."""
        found = [variance.sqrt() for variance in self.variances()]
        return [deviation.clamp(min=_LEAST * deviation.mean().item() or 1.0).float() for deviation in found]


def _by_channel(x: torch.Tensor) -> torch.Tensor:
    return x.sum((0, 2, 3)).cpu().double()  # summed up on the CPU: some accelerators have no double precision


def squared(
    ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], deviations: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Return the mean squared difference of each map, in units of the teacher's deviation of each channel.

    Shape:
        ours, theirs: (B, c, H, W) each
        deviations: (c,) each
        returned: scalars
    """
    return [
        ((x.float() - y.float()) / deviation[:, None, None]).square().mean()
        for x, y, deviation in zip(ours, theirs, deviations, strict=True)
    ]


class Unexplained:
    """Share of the variance of a teacher's maps that a student's miss: 0 if they are the same, 1 for their mean."""

    def __init__(self) -> None:
        self._theirs = Moments()
        self._missed = Moments()

    def add(self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> None:
        """Take in a batch: (B, c, H, W) each."""
        self._theirs.add(theirs)
        self._missed.add(x.float() - y.float() for x, y in zip(ours, theirs, strict=True))

    def shares(self) -> list[float]:
        """Return it for each map: 1 - the explained variance, all channels together."""
        return [
            (missed.sum() / variance.sum().clamp(min=1e-12)).item()
            for missed, variance in zip(self._missed.mean_squares(), self._theirs.variances())
        ]
