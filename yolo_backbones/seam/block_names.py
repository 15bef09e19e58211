"""Names in a row's block position: a block that nobody has is answered by what it most likely is."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.nn import tasks

from .. import names, registry


def check_block_name(i: int, name: Any, may_be_new: bool) -> None:
    """Check that Ultralytics or torch has a block.

    `may_be_new` leaves names that are like none of ours to `parse_model`, whose fork may know more.
    """
    if not isinstance(name, str) or name in vars(tasks):
        return
    package, _, attribute = name.rpartition(".")
    if package:
        if package == "nn" and not hasattr(torch.nn, attribute):
            raise ValueError(f"row {i}: torch.nn has no {attribute}")
        return
    known = list(registry.blocks())
    if not may_be_new:
        known += [
            block for block, cls in vars(tasks).items() if isinstance(cls, type) and issubclass(cls, torch.nn.Module)
        ]
    near = names.nearest(name, known)
    _check_no_network(i, name)
    if near:
        raise ValueError(f"row {i}: the model's YAML names a block {name}, which is unknown; did you mean {near[0]}?")
    if not may_be_new:
        raise ValueError(
            f"row {i}: the model's YAML names a block {name}, which is unknown; have the file that defines it call "
            "yolo_backbones.register, and name that file in YOLO_BACKBONES_BLOCKS"
        )


def _check_no_network(i: int, name: str) -> None:
    """Check that what stands in a block's place is no whole network: starnet_s1."""
    from .. import catalogue  # here, since few write so

    found = catalogue.meaning(name)
    if found is not None:
        raise ValueError(
            f"row {i}: {name} is a network, not a block; train model=yolov8n-{found.name}.yaml, or have the rows "
            f"written with `yolo-backbones new yolov8n {found.name}`"
        )
