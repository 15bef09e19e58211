"""The seam to Ultralytics: everything of the package that touches its internals is in this file.

`activate()` is called once `ultralytics.nn.tasks` has run, in every process. Each of its steps may be repeated: a
reload of Ultralytics' modules undoes some of them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, ROOT, checks

from . import blocks as block_files
from . import configs, registry
from .blocks.merge import Mergeable

_lock = threading.RLock()


def activate() -> None:
    """Makes blocks, configs, merging and restricted loading known to Ultralytics. Idempotent."""
    with _lock:
        for file in pkgutil.iter_modules(block_files.__path__, f"{block_files.__name__}."):
            importlib.import_module(file.name)
        registry.subscribe(_expose)
        _replace(tasks, "yaml_model_load", _with_shipped_models)
        _replace(checks, "check_file", _with_shipped_datasets)
        _replace(tasks, "torch_safe_load", _with_our_layers)
        _replace(tasks.BaseModel, "fuse", _with_merging)
        try:
            registry.import_user_blocks()
        except ImportError as error:
            LOGGER.warning(f"yolo_backbones: {error}")  # the package's own models are there all the same


class _RowContract(type):
    """Metaclass of the aliases: equal to the built-in whose row contract the block shares, and called in its place.

    `parse_model` reads a row by looking the class up in sets of built-ins (`m in base_modules`). An alias is found
    there as the built-in would be, so that channels, width and repeats are filled in; calling it builds the block.
    """

    block: registry.Block
    built_in: type

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.built_in

    def __hash__(cls) -> int:
        return hash(cls.built_in)

    def __call__(cls, *args: Any) -> nn.Module:
        return cls.block.build(*args)

    def __repr__(cls) -> str:  # parse_model prints it
        return repr(cls.block.cls)


def _expose(block: registry.Block) -> None:
    """Puts a block's alias among the names that model YAMLs may use."""
    taken = vars(tasks).get(block.name)
    if taken is not None and not isinstance(taken, _RowContract):
        raise ValueError(
            f"register({block.name}, like={block.like!r}): Ultralytics has a {block.name} of its own "
            f"({getattr(taken, '__module__', 'ultralytics.nn.tasks')}); rename the class"
        )
    namespace = {"block": block, "built_in": getattr(tasks, block.like), "__module__": __name__}
    alias = _RowContract(block.name, (nn.Module,), namespace)
    setattr(tasks, block.name, alias)


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Wraps `owner.name`, once, also where Ultralytics has imported it from there already."""
    original = getattr(owner, name)
    if getattr(original, "_yolo_backbones", False):
        return
    wrapped = functools.wraps(original)(wrap(original))
    wrapped._yolo_backbones = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapped)
    for key, module in list(sys.modules.items()):
        if key.startswith("ultralytics") and vars(module).get(name) is original:
            setattr(module, name, wrapped)


def _with_shipped_models(yaml_model_load: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def load(path: str | Path) -> dict[str, Any]:
        if "://" in str(path):
            return yaml_model_load(path)
        path = Path(path)
        file = None if _in_ultralytics(path) else configs.find_model(path)
        if file is not None:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
            config |= {"scale": tasks.guess_model_scale(path), "yaml_file": str(path)}
        else:
            try:
                config = yaml_model_load(path)
            except FileNotFoundError:
                raise FileNotFoundError(_unknown(path)) from None
        _check_rows(config)
        return config

    return load


def _check_rows(config: dict[str, Any]) -> None:
    """Finds mistakes in rows that parse_model would stumble over before it gets to the block.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: a block is unknown, but its name is much like one of ours.
    """
    for row in [*config.get("backbone", []), *config.get("head", [])]:
        if not isinstance(row, list) or len(row) != 4:
            continue  # parse_model says what it thinks of that
        _, _, name, args = row
        if name in registry.blocks():
            registry.blocks()[name].check_row(args)
        elif isinstance(name, str) and "." not in name and not hasattr(tasks, name):
            near = configs.nearest(name, list(registry.blocks()))
            if near:
                raise ValueError(f"the model's YAML names a block {name}, which is unknown; did you mean {near[0]}?")


def _in_ultralytics(path: Path) -> bool:
    """Whether Ultralytics ships a config of that name itself."""
    return bool(set(_ultralytics_models()) & {path.stem, configs.without_scale(path).stem})


@functools.cache
def _ultralytics_models() -> list[str]:
    return sorted(file.stem for file in (ROOT / "cfg" / "models").rglob("*.yaml"))


def _unknown(path: Path) -> str:
    known = [*configs.models(), *_ultralytics_models()]
    near = configs.nearest(configs.without_scale(path).stem, known)
    if not near:
        return f"'{path}' does not exist; shipped backbones: {', '.join(configs.models())}"
    names = [f"{configs.with_scale_of(path, stem)}.yaml" for stem in near]
    return f"'{path}' does not exist; did you mean {' or '.join(names)}?"


def _with_shipped_datasets(check_file: Callable[..., Any]) -> Callable[..., Any]:
    def check(file: str | Path, *args: Any, **kwargs: Any) -> Any:
        path = Path(str(file).strip())
        shipped = configs.find_dataset(path)
        if shipped is not None and not (ROOT / "cfg" / "datasets" / shipped.name).exists():
            return str(shipped)
        try:
            return check_file(file, *args, **kwargs)
        except FileNotFoundError as error:
            config = path.with_name(f"{path.name}.yaml")  # YOLO("yolov8n-starnet") looks for a file of just that name
            near = configs.nearest(path.stem, list(configs.datasets())) if path.parent == Path() else []
            if configs.find_model(config) is not None:
                raise FileNotFoundError(f"{error}; did you mean {config}?") from None
            if near:
                raise FileNotFoundError(f"{error}; did you mean {near[0]}.yaml?") from None
            raise

    return check


def _with_our_layers(torch_safe_load: Callable[..., Any]) -> Callable[..., Any]:
    """Lets restricted loading (`ULTRALYTICS_SAFE_LOAD=1`) take the layers that block files define or import.

    At the time of loading, since a file registers its first block before it has defined its last layer.
    """

    def load(weight: str | Path, *args: Any, **kwargs: Any) -> Any:
        users = {block.cls.__module__ for block in registry.blocks().values()}
        ours = f"{block_files.__name__}."
        # By what is loaded: a class from code that runpy ran names a module that is not.
        files = [file for name, file in list(sys.modules.items()) if name in users or name.startswith(ours)]
        members = [member for file in files for member in vars(file).values()]
        layers: list[Any] = [cls for cls in members if inspect.isclass(cls) and issubclass(cls, nn.Module)]
        torch.serialization.add_safe_globals(layers)
        try:
            return torch_safe_load(weight, *args, **kwargs)
        except FileNotFoundError as error:
            config = Path(weight).with_suffix(".yaml")
            if configs.models().get(configs.without_scale(config).stem) is None:
                raise
            raise FileNotFoundError(
                f"'{weight}' does not exist, and trained weights of that name are not published; "
                f"{config.name} is the untrained model"
            ) from error

    return load


def _with_merging(fuse: Callable[..., Any]) -> Callable[..., Any]:
    def merge_and_fuse(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for module in list(self.modules()):  # merging removes some
            if isinstance(module, Mergeable):
                module.merge()
        return fuse(self, *args, **kwargs)

    return merge_and_fuse
