"""The border between two detectors that end alike: the rows in common, and the maps that these read of the others.

    student  StarStem ... StarStage 4 -> P3   StarStage 6 -> P4   StarStage 8 -> P5 | SPPF, neck, head
    teacher  Conv     ... C2f       4 -> P3   C2f       6 -> P4   C2f       8 -> P5 | SPPF, neck, head

Nothing here knows a backbone: what differs is what is aligned, be it a family, a published network or a YAML whose neck
has other blocks as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .. import detectors

Model = Any  # one of Ultralytics' detectors, which declare no types


@dataclass(frozen=True)
class Junction:
    """The border between what differs and what two detectors share.

    Attributes:
        maps: pairs of rows, the student's and the teacher's, whose maps the shared rows read, in the rows' order.
        shared: pairs of rows that are the same in both.
    """

    maps: tuple[tuple[int, int], ...]
    shared: tuple[tuple[int, int], ...]

    @property
    def student_maps(self) -> tuple[int, ...]:
        """The student's rows whose maps are aligned."""
        return tuple(row for row, _ in self.maps)

    @property
    def teacher_maps(self) -> tuple[int, ...]:
        """The teacher's rows to whose maps they are aligned."""
        return tuple(row for _, row in self.maps)


def find(student: Model, teacher: Model) -> Junction:
    """Find where a student becomes the same as its teacher, by their rows from the last to the first.

    Args:
        student: a detector.
        teacher: another, with the same head.

    Raises:
        ValueError: they share no row, or all of them, or what they share is wired otherwise.
    """
    ours, theirs = list(student.model), list(teacher.model)
    shared: dict[int, int] = {}
    for i, j in zip(reversed(range(len(ours))), reversed(range(len(theirs)))):
        if type(ours[i]) is not type(theirs[j]):
            break
        shared[i] = j
    if not shared:
        raise ValueError(
            f"the student's head is {type(ours[-1]).__name__}, the teacher's {type(theirs[-1]).__name__}; "
            "take a teacher of the same detector and task"
        )
    if len(shared) == len(ours):
        raise ValueError(
            "student and teacher have the same blocks in every row, so there is nothing to align; give the student "
            "another backbone, or train it with pretrained="
        )
    maps: dict[int, int] = {}
    for i, j in shared.items():
        for source, other in zip(_sources(ours[i], i), _sources(theirs[j], j), strict=True):
            if (source in shared or other in shared.values()) and shared.get(source) != other:
                raise ValueError(
                    f"row {i} of the student reads row {source}, row {j} of the teacher, the same block, reads row "
                    f"{other}; align detectors whose necks are wired alike"
                )
            if source not in shared:
                maps[source] = other
    return Junction(tuple(sorted(maps.items())), tuple(sorted(shared.items())))


def _sources(layer: Any, row: int) -> list[int]:
    """Return the rows that a row reads, counted from the first; -1 stands for the image."""
    given: int | Sequence[int] = layer.f
    return [row + f if f < 0 else f for f in ([given] if isinstance(given, int) else given)]


def differing(student: Model, teacher: Model, junction: Junction) -> list[str]:
    """List what shared rows have in other sizes: `row 9, SPPF: cv1.conv.weight is [256, 512, 1, 1], not [128, ...]`."""
    found = []
    for i, j in junction.shared:
        theirs = teacher.model[j].state_dict()
        for name, value in student.model[i].state_dict().items():
            if name not in theirs or theirs[name].shape != value.shape:
                other = list(theirs[name].shape) if name in theirs else "absent"
                found.append(f"row {i}, {type(student.model[i]).__name__}: {name} is {list(value.shape)}, not {other}")
                break
    return found


def hand_over(student: Model, teacher: Model, junction: Junction) -> None:
    """Give the student the teacher's weights in every shared row."""
    for i, j in junction.shared:
        student.model[i].load_state_dict(teacher.model[j].state_dict())


def maps(model: Model, image: torch.Tensor, rows: Sequence[int]) -> list[torch.Tensor]:
    """Run a detector up to the last of these rows, and return their maps.

    Shape:
        image: (B, 3, H, W)
        maps: (B, c, H / stride, W / stride) each
    """
    found = outputs(model, image, max(rows) + 1)
    return [found[row] for row in rows]


def outputs(model: Model, image: torch.Tensor, end: int = -1) -> list[Any]:
    """Run a detector's rows up to `end`, which is left out; the head by default. Return what each gives."""
    return detectors.outputs(list(model.model)[:end], image)
