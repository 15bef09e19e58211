"""The contracts of blocks: what Ultralytics hands to a block, what a YAML row gives, and how many channels come out.

A contract has the name of a layer whose rows are read so, or that anybody would compare the block with. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contract:
    """The reading of a block's row.

    Attributes:
        given: the block's first arguments: `c1`, or `channels`, a list of one for each input, `c2`, `n` and the like.
        fits: the kind of block that it is for, as a phrase.
        row: those of `given` that the row gives, not Ultralytics.
        built_in: the layer of Ultralytics' whose rows `parse_model` reads so, in all releases. None where it has none
            that scales nothing and keeps the channels: it does that with layers that it does not know.
        several: true if the block reads several rows.
        whole: true if it is a whole network, whose row `dialects` and `composition` put into a `Network` row.
        output: channels of the output from those of the inputs and the row's arguments; None where `parse_model`
            knows them.
    """

    given: tuple[str, ...]
    fits: str
    row: tuple[str, ...] = ()
    built_in: str | None = None
    several: bool = False
    whole: bool = False
    output: Callable[[Sequence[int], Sequence[Any]], int] | None = None

    @property
    def filled(self) -> bool:
        """True if the channels come from the rows before, and `parse_model` does not hand them over by itself."""
        return self.output is not None or (self.built_in is None and bool(self.given))


CONTRACTS: dict[str, Contract] = {
    "Conv": Contract(("c1", "c2"), "a layer with c2 channels", ("c2",), "Conv"),
    "C2f": Contract(("c1", "c2", "n"), "a block that takes its repeats as n", ("c2",), "C2f"),
    "HGStem": Contract(("c1", "cm", "c2"), "fixed channels", ("cm", "c2"), "HGStem"),
    "CBAM": Contract(("c1",), "attention, which keeps its channels"),
    "Upsample": Contract((), "a layer that takes no channels and keeps them"),
    "Add": Contract(
        ("channels",), "several inputs and the first one's channels", several=True, built_in="HGStem",
        output=lambda channels, row: channels[0],
    ),
    "Concat": Contract(
        ("channels",), "several inputs and the sum of their channels", several=True, built_in="HGStem",
        output=lambda channels, row: sum(channels),
    ),
    "Fuse": Contract(
        ("channels", "c2"), "several inputs and c2 channels", ("c2",), several=True, built_in="HGStem",
        output=lambda channels, row: row[0],
    ),
    "Slice": Contract(
        ("c1", "start", "stop"), "channels start to stop - 1", ("start", "stop"), built_in="HGStem",
        output=lambda channels, row: row[1] - row[0] if {type(k) for k in row[:2]} == {int} else 0,
    ),
    "Network": Contract(("c1",), "a whole network, which returns several maps", whole=True),
}  # fmt: skip
