"""The seam to Ultralytics: everything of the package that changes its internals is in this file; bases.py reads them.

`activate()` is called once `ultralytics.nn.tasks` has run, in every process. Each of its steps may be repeated: a
reload of Ultralytics' modules undoes some of them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from ultralytics import utils
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, ROOT, callbacks, checks, torch_utils

from . import bases, catalogue, composition, configs, registry, restricted
from . import blocks as block_files
from .blocks.merge import Mergeable
from .blocks.network import FeatureMap, Network
from .blocks.vanillanet import DeepTraining, deep_convs
from .weights.guard import checkpoint_loading

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
        _replace(torch_utils, "initialize_weights", _but_for_networks)
        _call_back(on_train_start=_announce, on_train_epoch_start=_deepen, on_train_epoch_end=_record)
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
        built = cls.block.build(*args)
        if cls.block.cls is Network and args[-1].get("strides", "last") != "last":
            # Ultralytics finds a detector's strides by a run on an empty image, which older releases (8.2, 8.3.0) do in
            # training mode: it would spoil the statistics of published weights. `_but_for_networks` comes after it.
            built.eval()
        return built

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
        config = _ours(path)
        if config is None:
            try:
                config = yaml_model_load(path)
            except FileNotFoundError:
                raise FileNotFoundError(_unknown(path)) from None
        _check_rows(config)
        return config

    return load


def _ours(path: Path) -> dict[str, Any] | None:
    """The config of that name, shipped or composed; None for what is on disk or Ultralytics' own."""
    if bases.known(path.stem):
        return None
    file = configs.find_model(path)
    if file is not None:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {**config, "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}
    return None if os.path.exists(path) else composition.resolve(path)


def _is_ours(path: Path) -> bool:
    """Whether a config of that name could be loaded."""
    try:
        return _ours(path) is not None
    except (FileNotFoundError, ValueError):
        return False


def _check_rows(config: dict[str, Any]) -> None:
    """Finds mistakes in rows that parse_model would stumble over before it gets to the block.

    Raises:
        TypeError: a block of ours has the wrong number of arguments.
        ValueError: a block is unknown, but its name is much like one of ours; the backbone is no list of rows; there is
            no such scale; or `deep_training` says something that it cannot.
    """
    DeepTraining.of(config)
    backbone, scales = config.get("backbone", []), config.get("scales")
    if config.get("scale") and scales and config["scale"] not in scales:
        raise ValueError(
            f"{config['yaml_file']} asks for scale {config['scale']}, and the file has {', '.join(scales)}; "
            "name it with one of these, or with none"
        )
    if not isinstance(backbone, list):
        raise ValueError(_no_rows(backbone))
    for row in [*backbone, *config.get("head", [])]:
        if not isinstance(row, list) or len(row) != 4:
            continue  # parse_model says what it thinks of that
        _, n, name, args = row
        if name in {Network.__name__, FeatureMap.__name__} and n != 1:
            raise ValueError(f"{name}: the YAML row repeats it {n} times, and it can stand there only once; write 1")
        if name in registry.blocks():
            registry.blocks()[name].check_row(args)
        elif isinstance(name, str) and "." not in name and not hasattr(tasks, name):
            near = configs.nearest(name, list(registry.blocks()))
            if near:
                raise ValueError(f"the model's YAML names a block {name}, which is unknown; did you mean {near[0]}?")


def _no_rows(backbone: Any) -> str:
    """What to write in place of `backbone: {type: ...}` or `backbone: path.py`, which some forks read."""
    asked = backbone.get("type") or backbone.get("name") if isinstance(backbone, dict) else backbone
    near = catalogue.nearest(Path(str(asked)).stem)
    name = near[0] if near else "starnet_s1"
    return (
        f"the model's YAML says backbone: {backbone}, which Ultralytics does not read; train "
        f"model=yolov8n-{name}.yaml, or have the rows written with `yolo-backbones new yolov8n {name}`"
    )


def _unknown(path: Path) -> str:
    known = [configs.with_scale_of(path, stem) for stem in [*configs.models(), *bases.names()]]
    if composition.is_backbone(path.stem):
        return f"'{path}' does not exist; a backbone needs a detector, as in yolov8n-{path.stem}.yaml"
    near = configs.nearest(path.stem, [*known, *composition.meant(path)])
    if not near:
        return f"'{path}' does not exist; shipped backbones: {', '.join(configs.models())}"
    names = [f"{stem}.yaml" for stem in near]
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
            if _is_ours(config):
                raise FileNotFoundError(f"{error}; did you mean {config}?") from None
            if near:
                raise FileNotFoundError(f"{error}; did you mean {near[0]}.yaml?") from None
            raise

    return check


def _with_our_layers(torch_safe_load: Callable[..., Any]) -> Callable[..., Any]:
    """Let restricted loading (`ULTRALYTICS_SAFE_LOAD=1`, `safe_only=True`) take the layers that models consist of."""
    signature = inspect.signature(torch_safe_load)

    def load(weight: str | Path, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(weight, *args, **kwargs).arguments.get("safe_only")
        safe_only = getattr(utils, "SAFE_LOAD", False) if given is None else given
        users = {block.cls.__module__ for block in registry.blocks().values()} if safe_only else set()
        try:
            with checkpoint_loading(), restricted.allowing(weight, users) if safe_only else nullcontext():
                checkpoint, file = torch_safe_load(weight, *args, **kwargs)
        except FileNotFoundError as error:
            config = Path(weight).with_suffix(".yaml")
            if not _is_ours(config):
                raise
            raise FileNotFoundError(
                f"'{weight}' does not exist, and trained weights of that name are not published; "
                f"{config.name} is the untrained model"
            ) from error
        for part in ("model", "ema"):
            if isinstance(checkpoint.get(part), nn.Module):
                _forget_weights(checkpoint[part])
        return checkpoint, file

    return load


def _forget_weights(model: nn.Module) -> None:
    """Lets no model that came out of a checkpoint ask for published weights: it brings its own.

    Ultralytics builds it again from the YAML that it carries, to train it further.
    """
    for config in _configs_of(model):
        for row in config.get("backbone", []):
            if row[2] == Network.__name__:
                row[3][-1].pop("weights", None)


def _configs_of(model: nn.Module) -> Iterator[dict[str, Any]]:
    """The configs that a model, however wrapped, was built from: one, or, where it is distilled, two."""
    for module in model.modules():
        config = getattr(module, "yaml", None)
        if isinstance(config, dict):
            yield config


def _but_for_networks(initialize_weights: Callable[..., Any]) -> Callable[..., Any]:
    """Leaves published networks the BatchNorm eps that their weights were trained with.

    And activations that are not in-place as they are: the tensor may be one of the maps, or be needed once more.
    """

    def initialize(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        networks = [module for module in model.modules() if isinstance(module, Network)]
        inner = [module for network in networks if network.published for module in network.modules()]
        kept = [
            (module, name, getattr(module, name))
            for module in inner
            for name in ("eps", "momentum", "inplace")
            if hasattr(module, name)
        ]
        result = initialize_weights(model, *args, **kwargs)
        for module, name, value in kept:
            setattr(module, name, value)
        for network in networks:
            network.train(model.training)  # `_RowContract` built it for evaluation
        return result

    return initialize


def _with_merging(fuse: Callable[..., Any]) -> Callable[..., Any]:
    def fuse_and_merge(self: Any, verbose: bool = True, *args: Any, **kwargs: Any) -> Any:
        done = self.is_fused()
        fuse(self, False, *args, **kwargs)
        # Fake quantisation, of late releases, holds on to the range of each weight, which merging would change.
        if not getattr(tasks, "is_qat", lambda _: False)(self):
            for module in reversed(list(self.modules())):  # what is inside first; merging removes some
                if isinstance(module, Mergeable):
                    module.merge()
        if not done:  # the counts that Ultralytics prints are of before
            self.info(False, verbose, *args, **kwargs)
        return self

    return fuse_and_merge


def _call_back(**functions: Callable[[Any], None]) -> None:
    """Has every trainer call them."""
    for event, function in functions.items():
        listed = callbacks.default_callbacks[event]
        if function.__name__ not in {other.__name__ for other in listed}:
            listed.insert(0, function)  # `YOLO.reset_callbacks()` keeps the first alone


def _deepen(trainer: Any) -> None:
    """Sets the slope of VanillaNet's deep training, in the model and in its average, which is what is saved."""
    slope = _plan(trainer).slope(trainer.epoch, trainer.epochs)
    for model in (trainer.model, trainer.ema.ema) if trainer.ema else (trainer.model,):
        for pair in deep_convs(model):
            pair.raise_slope(slope)


def _plan(trainer: Any) -> DeepTraining:
    return DeepTraining.of(next(_configs_of(trainer.model), {}))


def _announce(trainer: Any) -> None:
    """Says once what the slope is going to do."""
    pairs = deep_convs(trainer.model)
    if not pairs:
        return
    plan, total = _plan(trainer), trainer.epochs
    slope = max(pairs[0].learned, plan.slope(trainer.start_epoch, total))
    if slope == 1:
        LOGGER.info("VanillaNet: slope 1, as after its deep training; pairs of convolutions merge at any time")
    else:
        LOGGER.info(
            f"VanillaNet: slope {slope:.2g} to 1 over the first {plan.epochs(total)} of {total} epochs ({plan.form}); "
            "only then do its pairs of convolutions merge"
        )


def _record(trainer: Any) -> None:
    """Adds the slope to what Ultralytics logs of each epoch: the learning rates, a column each in results.csv."""
    for pair in deep_convs(trainer.model)[:1]:
        trainer.lr["slope"] = pair.slope
