"""Hooks: what a module took and returned stays as it was when a hook saw it, and backward hooks run."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from conftest import randomise_batch_norm
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.module import register_module_forward_hook
from ultralytics.nn.tasks import DetectionModel

from yolo_backbones import configs
from yolo_backbones.families import families
from yolo_backbones.families.fasternet import FasterStage
from yolo_backbones.families.lsknet import LSKStage
from yolo_backbones.families.sknet import SKStage
from yolo_backbones.families.starnet import StarStage
from yolo_backbones.families.vanillanet import VanillaBlock, deep_convs
from yolo_backbones.layers import in_place

FAMILIES = sorted(stem.removeprefix("yolov8-") for stem in configs.models())
SMALLEST = {
    name: min(family.variants, key=lambda variant: family.variants[variant].parameters)
    for name, family in families().items()
}
# Forms that no config has: an activation in place, half of VanillaNet's deep training.
FORMS = {
    "star relu": lambda: StarStage(8, 8, act="relu"),
    "faster silu": lambda: FasterStage(8, 8, act="silu"),
    "lsk relu": lambda: LSKStage(8, 8, act="relu"),
    "sk plain": lambda: SKStage(8, 16, g=2, form="plain"),
    "sk of three": lambda: SKStage(8, 16, M=3, g=2),
    "vanilla without pooling": lambda: VanillaBlock(8, 8, 1),
    "vanilla half trained": lambda: half_trained(VanillaBlock(8, 8, 2)),
}


def half_trained(block: nn.Module) -> nn.Module:
    for pair in deep_convs(block):
        pair.slope = 0.5
    return block


def backbone(name: str, fused: bool) -> nn.Sequential:
    """The rows of the backbone; a published network's are one."""
    torch.manual_seed(0)
    model = DetectionModel(f"yolov8n-{name}.yaml", verbose=False).eval()
    randomise_batch_norm(model)
    if fused:
        model.fuse(verbose=False)
    return model.model[:1] if name in SMALLEST.values() else model.model[:9]


def tensors(value: object) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in values if isinstance(item, torch.Tensor)]


class Kept:
    """A hook that keeps what it sees, and a copy of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def before(self, module: nn.Module, args: object) -> None:
        self.seen += [(type(module).__name__, tensor, tensor.clone()) for tensor in tensors(args)]

    def after(self, module: nn.Module, args: object, output: object) -> None:
        self.before(module, args)
        self.before(module, output)

    def changed(self) -> list[str]:
        return [name for name, tensor, copy in self.seen if not torch.equal(tensor, copy)]


@contextmanager
def hook(module: nn.Module, kind: str, function: object) -> Iterator[None]:
    handle = getattr(module, f"register_{kind}_hook")(function)
    yield
    handle.remove()


def kinds(network: nn.Module) -> dict[str, nn.Module]:
    """One module of each place in a block, of those that are of one class."""
    found = {}
    for name, module in network.named_modules():
        place = re.sub(r"^\d+|(?<=stages\.)\d+|(?<=blocks\.)\d+|(?<=units\.)\d+", "", name)
        found.setdefault((place, type(module)), (name, module))
    return dict(found.values())


def check_each_module(network: nn.Module, image: torch.Tensor) -> None:
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    with torch.no_grad():
        network(image.clone())
    changed, called, ran = [], set(), set()
    for name, module in kinds(network).items():
        kept = Kept()
        with torch.no_grad(), hook(module, "forward", kept.after):
            network(image)
        with torch.no_grad(), hook(module, "forward_pre", kept.before):
            network(image)
        changed += [name] if kept.changed() else []
        if kept.seen and isinstance(module, nn.Conv2d):
            called.add(name)
        with hook(module, "full_backward", lambda *_, name=name: ran.add(name)):
            output = network(image)
            if name in called:  # other modules' hooks only have to let the forward pass through
                sum(map(torch.sum, tensors(output))).backward()
    assert not changed
    assert called and ran == called


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", [*FAMILIES, *SMALLEST.values()])
def test_what_a_hook_on_any_module_keeps_stays(name, fused):
    check_each_module(backbone(name, fused), torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_no_config_has(form):
    torch.manual_seed(0)
    block = FORMS[form]()
    randomise_batch_norm(block)
    check_each_module(block.eval(), torch.randn(2, 8, 8, 8))
    block.train()
    check_each_module(block, torch.randn(2, 8, 8, 8))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_hook_on_all_modules_at_once(name, fused):
    network, image, kept = backbone(name, fused), torch.rand(1, 3, 32, 32), Kept()
    with torch.no_grad():
        plain = network(image)
        handle = register_module_forward_hook(kept.after)
        try:
            watched = network(image)
        finally:
            handle.remove()
    assert len(kept.seen) > 20
    assert not kept.changed()
    torch.testing.assert_close(watched, plain)


def test_maps_are_written_over_where_nobody_watches():
    act, conv, x = nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1), torch.randn(1, 2, 4, 4)
    other = torch.ones_like(x)
    assert in_place.add(x, other, conv).data_ptr() == x.data_ptr()
    assert in_place.activate(act, x, conv).data_ptr() == x.data_ptr()
    for module in (act, conv):
        handle = module.register_forward_hook(lambda *_: None)
        assert in_place.activate(act, x, conv).data_ptr() != x.data_ptr()
        assert act.inplace  # for the next call
        handle.remove()
    assert in_place.activate(act, x, conv).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_hook_on_all_modules_watches(kind):
    handle = getattr(torch_module, f"register_module_{kind}_hook")(lambda *_: None)
    try:
        assert in_place.watched()
    finally:
        handle.remove()
    assert not in_place.watched()


def test_hooks_are_found_with_the_oldest_torch(monkeypatch):
    monkeypatch.delattr(torch_module, "_has_any_global_hook", raising=False)  # torch 2.4 and 2.5 lack it
    spec = importlib.util.find_spec(in_place.__name__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_an_activation_stays_in_place_after_a_hook_that_fails():
    act = nn.ReLU(inplace=True)
    with pytest.raises(ZeroDivisionError), hook(act, "forward", lambda *_: 1 / 0):
        in_place.activate(act, torch.ones(1))
    assert act.inplace


@pytest.mark.parametrize("name", FAMILIES)
def test_class_activation_maps_are_those_of_the_maps(name):
    """Grad-CAM (Selvaraju et al., ICCV 2017, Eq. 1 and 2) by hooks equals the same from the rows' own outputs."""
    model = backbone(name, fused=False)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    image = torch.rand(1, 3, 64, 64)
    last = [module for module in model[8].modules() if isinstance(module, nn.BatchNorm2d)][-1]
    seen: dict[str, torch.Tensor] = {}
    last.register_forward_hook(lambda module, args, output: seen.update(map=output, args=args[0]))
    last.register_full_backward_hook(lambda module, into, out: seen.update(gradient=out[0]))
    model(image).square().sum().backward()
    # BatchNorm of what it was given is what it returned, unless somebody has written to either.
    normalised = F.batch_norm(
        seen["args"], last.running_mean, last.running_var, last.weight, last.bias, training=False, eps=last.eps
    )
    torch.testing.assert_close(seen["map"], normalised)
    heat = (seen["gradient"].mean((2, 3), keepdim=True) * seen["map"]).sum(1).relu()
    expected = (seen["gradient"].mean((2, 3), keepdim=True) * normalised).sum(1).relu()
    torch.testing.assert_close(heat, expected)
    assert seen["gradient"].any()
