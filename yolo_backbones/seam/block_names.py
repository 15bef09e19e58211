"""Names in a row's block position: a block that nobody has is answered by what it most likely is."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn
from ultralytics.nn import tasks

from .. import names, registry, row_form
from ..messages import shown

# Names of blocks are short and much alike: at 0.6 SEBlock would be HGBlock mistyped. 0.75 still has SPFF for SPPF.
_LIKENESS = 0.75
# Words with which a block's name goes on behind its network's: MobileNetV3_InvertedResidual, SwinTransformerBlock.
_PART = re.compile(
    r"_?(?:(?:Basic|Conv|Down|Transformer)?_?(?:Block|Layer|Module|Stage|Unit)|Bottleneck|InvertedResidual|Stem)s?$",
    re.IGNORECASE,
)

# Prefixes with which a row names a layer of another package, and the module that `parse_model` looks it up in.
_PACKAGES = {"nn": "torch.nn", "torchvision.ops": "torchvision.ops"}


def check_block_name(i: int, name: Any) -> None:
    """Check that Ultralytics, torch or this package has a block.

    Raises:
        ValueError: none has; the message says what the name may mean.
    """
    if not isinstance(name, str) or name in vars(tasks):
        return
    package = next((package for package in _PACKAGES if name.startswith(f"{package}.")), None)
    if package is None:
        if name.startswith("torch.nn.") and hasattr(nn, name.removeprefix("torch.nn.")):
            raise ValueError(f"row {i}: {name} is written {name.removeprefix('torch.')} in a row")
        raise ValueError(f"row {i}: {_answer(name)}")
    attribute = name.removeprefix(f"{package}.")
    found = importlib.import_module(_PACKAGES[package])
    if not hasattr(found, attribute):
        near = names.nearest(attribute, sorted(_layers(found)), likeness=_LIKENESS)
        offer = f"; did you mean {package}.{near[0]}?" if near else ""
        raise ValueError(f"row {i}: {found.__name__} has no {attribute or 'layer without a name'}{offer}")


def explain(error: BaseException, config: Mapping[str, Any]) -> None:
    """Raise `parse_model`'s error anew, as a sentence, if a row is none or has a block that nobody has.

    Raises:
        ValueError: one is or has; the message says what the name may mean.
    """
    row_form.check_all_parts(config)
    for i, (_, _, name, _) in enumerate(row_form.rows(config)):
        missing = isinstance(error, AttributeError) and name.endswith(f".{error.name}")
        if missing or (isinstance(error, KeyError) and error.args == (name,)):
            try:
                check_block_name(i, name)
            except ValueError as told:
                raise told from error


def _answer(name: str) -> str:
    from .. import catalogue  # here, since few YAMLs name what nobody has
    from ..families import families  # as above

    found = catalogue.meaning(name)
    if found is not None:
        return (
            f"{name} is a network, not a block; train model=yolov8n-{found.name}.yaml, or have the rows written with "
            f"`yolo-backbones new yolov8n {found.name}`"
        )
    written = name if re.fullmatch(r"[\w.-]{1,60}", name) else shown(name)
    unknown = f"the model's YAML names a block {written}, which is unknown; "
    squashed = name.replace("_", "").lower()
    for family in families().values():
        if squashed in family.also_called:
            block = family.also_called[squashed]
            return f"{unknown}{family.title}'s is {block} here, and yolov8-{family.name}.yaml has rows of them"
    near = names.nearest(name, sorted(_layers(tasks).union(registry.blocks())), likeness=_LIKENESS)
    if near:
        return f"{unknown}did you mean {near[0]}?"
    for network in (name, _PART.sub("", name)):
        offer = catalogue.offer(network, "model=yolov8n-{}.yaml")
        if offer:
            return f"{unknown}if a network is meant: {offer}"
    return (
        f"{unknown}have the file that defines it call yolo_backbones.register, and name that file in "
        "YOLO_BACKBONES_BLOCKS"
    )


def _layers(module: ModuleType) -> set[str]:
    return {key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)}
