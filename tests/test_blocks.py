"""The contract of a block, held by everything that is registered."""

import copy
import inspect
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
import ultralytics.nn.tasks  # noqa: F401  # activates the plugin
from conftest import randomise_batch_norm
from torch import nn

from yolo_backbones import registry
from yolo_backbones.families import families
from yolo_backbones.families.fasternet import FasterStage, PartialConv
from yolo_backbones.families.sknet import SKConv, SKStage, SKUnit
from yolo_backbones.families.starnet import StarBlock
from yolo_backbones.families.vanillanet import DeepConv, VanillaBlock
from yolo_backbones.layers.conv import ConvBN

# Whole networks and what picks their maps have tests of their own, in test_network.py.
families()  # registers them
OWN = [
    block
    for block in registry.blocks().values()
    if block.cls.__module__.startswith("yolo_backbones.") and block.like != "HGStem"
]
C1, C2 = 32, 64


def cases():
    """Every block, with equal and unequal channels, and with 1 and 2 repeats where it takes them."""
    for block in OWN:
        for c1, c2 in ((C2, C2), (C1, C2))[: 1 if getattr(block.cls, "keeps_channels", False) else 2]:
            for n in (1, 2) if block.like == "C2f" else (None,):
                args = (c1, c2) if n is None else (c1, c2, n)
                yield pytest.param(block, args, id=f"{block.name}{args}".replace(" ", ""))


CASES = list(cases())


@pytest.fixture
def image():
    torch.manual_seed(0)
    return lambda c, scale=1.0: (torch.rand(2, c, 48, 80) * 2 - 1) * scale


def build(block, args, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return block.build(*args)


def stride(block) -> int:
    """As the docstring has it: "(B, c1, H, W) -> (B, c2, H/s, W/s)", s being an argument or a number."""
    (divisor,) = re.findall(r"-> \(B, c2, H(?:/(\w+))?, W(?:/\1)?\)", block.cls.__doc__)
    if not divisor or divisor.isdigit():
        return int(divisor or 1)
    return inspect.signature(block.cls).parameters[divisor].default


def test_each_family_registers_its_blocks():
    of = {block.name: block.cls.__module__ for block in OWN}
    assert set(of.values()) == {family.own_name.__module__ for family in families().values()}
    assert {"StarStem", "StarStage", "FasterEmbed", "FasterStage", "VanillaBlock", "SKConv", "SKStage"} <= of.keys()


@pytest.mark.parametrize(("block", "args"), CASES)
def test_output_has_c2_channels_and_the_stride(block, args, image):
    y = build(block, args)(image(args[0]))
    assert y.shape == (2, args[1], 48 // stride(block), 80 // stride(block))


@pytest.mark.parametrize(("block", "args"), CASES)
def test_every_parameter_gets_a_gradient(block, args, image):
    model = build(block, args)
    y = model(image(args[0]))
    (y * torch.randn_like(y)).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("block", "args"), CASES)
def test_gradients_are_those_of_finite_differences(block, args):
    """Blocks write into maps of their own; one that the backward pass still needs would spoil it."""
    model = build(block, args).double()
    x = torch.randn(2, args[0], 8, 8, dtype=torch.double, requires_grad=True)
    names, parameters = zip(*model.named_parameters())

    def forward(x, *parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters)), (x,))

    assert torch.autograd.gradcheck(forward, (x, *parameters), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize(("block", "args"), CASES)
def test_without_gradients_the_output_is_the_same(block, args, image):
    model = build(block, args).eval()
    randomise_batch_norm(model)
    x = image(args[0])
    expected = model(x)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected.detach())


@pytest.mark.parametrize(("block", "args"), CASES)
def test_the_order_in_memory_changes_no_value(block, args, image):
    """Of the output and of the gradients; and a traced model does not meddle with it."""
    model = build(block, args)
    # BatchNorm cancels a bias in front of it, whose gradient is 0 but for rounding.
    cancelled = [m.conv.bias for m in model.modules() if isinstance(m, ConvBN) and m.conv.bias is not None]
    model.requires_grad_(True)
    for bias in cancelled:
        bias.requires_grad_(False)
    x = image(args[0])
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        given = x.to(memory_format=order, copy=True).requires_grad_()
        model.zero_grad()
        y = model(given)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        found.append([y.detach(), given.grad, *(p.grad.clone() for p in model.parameters() if p.requires_grad)])
    for one, other in zip(*found):
        # By the norm: rounding decides on which side of a ReLU's edge a value stands.
        assert (one - other).norm() < 1e-3 * one.norm()
    traced = torch.jit.trace(model.eval(), x, check_trace=False)
    assert "aten::contiguous" not in {node.kind() for node in traced.inlined_graph.nodes()}


@pytest.mark.parametrize("merged", [False, True], ids=["unmerged", "merged"])
@pytest.mark.parametrize(("block", "args"), CASES)
def test_maps_leave_with_their_channels_innermost_on_the_cpu(block, args, merged, image):
    """In single precision; so that whatever follows is as fast. SKConv alone keeps what it gets: see its unit."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN, without which that order is the slow one")
    model = build(block, args).eval()
    for module in model.modules():
        if merged and hasattr(module, "merge"):
            module.merge()
    x = image(args[0])
    with torch.no_grad():
        assert model(x).is_contiguous(memory_format=torch.channels_last) != issubclass(block.cls, SKConv)
        assert model.double()(x.double()).is_contiguous()


@pytest.mark.parametrize(("block", "args"), CASES)
def test_trains_on_a_batch_of_one_at_any_size(block, args):
    model = build(block, args)
    for height, width in ((32, 64), (96, 32)):
        assert model(torch.randn(1, args[0], height, width)).isfinite().all()


@pytest.mark.parametrize(("block", "args"), CASES)
def test_copies_and_pickles(block, args, image):
    model = build(block, args).eval()
    x = image(args[0])
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)


@pytest.mark.parametrize(("block", "args"), CASES)
def test_traces_for_other_sizes_and_batches(block, args, image):
    model = build(block, args).eval()
    randomise_batch_norm(model)
    with torch.no_grad():
        traced = torch.jit.trace(model, image(args[0]))
        x = torch.randn(3, args[0], 64, 32)
        torch.testing.assert_close(traced(x), model(x))


@pytest.mark.parametrize("merged", [False, True], ids=["unmerged", "merged"])
@pytest.mark.parametrize(("block", "args"), CASES)
def test_half_precision_stands_values_that_overflow_naively(block, args, merged, image):
    """Inputs and outputs fit into half precision; a sum over pixels or a product of two channels would not."""
    x = image(args[0], 20_000)[:, :, :24, :40]  # convolutions of half precision are slow without an accelerator
    errors = []
    for seed in range(5):
        model = build(block, args, seed).eval()
        if merged:
            for module in model.modules():
                if hasattr(module, "merge"):
                    module.merge()
        with torch.no_grad():
            expected = model(x)
            assert expected.abs().max() < 65_504
            y = model.half()(x.half()).float()
        assert y.isfinite().all()
        errors.append((y - expected).norm() / expected.norm())
    # By the norm, and of several networks the median: next to a clipping activation's edge rounding decides between 0
    # and 6, and where an attention's logits are nearly equal, between one branch and the other.
    assert torch.stack(errors).median() < 0.02


@pytest.mark.parametrize(("block", "args"), CASES)
def test_leaves_its_input_alone(block, args, image):
    model = build(block, args).eval()
    x = image(args[0])
    before = x.clone()
    with torch.no_grad():
        model(x)
    assert torch.equal(x, before)


def test_the_star_is_a_product(image):
    """f(x) + f(x) would be linear in both factors; the product scales with the square where ReLU6 does not clip."""
    block = StarBlock(C2, 2).eval()
    block.dwconv, block.g, block.dwconv2 = nn.Identity(), nn.Identity(), nn.Identity()
    x = image(C2, 0.5)
    with torch.no_grad():
        one, other = block.f1(x), block.f2(x)
        seen = []
        block.g.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        block.dwconv2.register_forward_hook(lambda *_: torch.zeros_like(x))
        block(x)
    torch.testing.assert_close(seen[0], F.relu6(one) * other)
    assert not torch.allclose(seen[0], F.relu6(one) + other)


def test_merging_a_star_changes_no_bit(image):
    block = StarBlock(C2, 2).eval()
    randomise_batch_norm(block)
    x = image(C2)
    with torch.no_grad():
        expected = block(x)
        block.merge()
        block.merge()
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize("layer_scale", [0.0, 0.1, 1])
def test_both_forms_of_the_partial_convolution_agree(layer_scale, image):
    args = (C2, C2, 2, 4, 2.0, "gelu", 0.0, layer_scale)
    torch.manual_seed(0)
    slicing = FasterStage(*args, "slicing").eval()
    torch.manual_seed(0)
    split_cat = FasterStage(*args, "split_cat").eval()
    x = image(C2)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(slicing(x), split_cat(x))
    assert torch.equal(x, before)  # it is the shortcut, too


def test_slicing_gives_way_to_split_cat_in_training_and_export(image):
    block = PartialConv(C2, form="slicing")
    x = image(C2)
    assert "CatBackward" in type(block.train()(x).grad_fn).__name__
    assert "CatBackward" not in type(block.eval()(x).grad_fn).__name__
    traced = {node.kind() for node in torch.jit.trace(block, x).graph.nodes()}
    assert "aten::cat" in traced


def test_partial_convolution_passes_the_rest_unchanged(image):
    x = image(C2)
    y = PartialConv(C2, n_div=4)(x)
    assert torch.equal(y[:, C2 // 4 :], x[:, C2 // 4 :])
    assert not torch.allclose(y[:, : C2 // 4], x[:, : C2 // 4])


@pytest.mark.parametrize("s", [1, 2])
def test_merging_vanilla_convolutions_keeps_the_output(s, image):
    block = VanillaBlock(C1, C2, s).eval()
    randomise_batch_norm(block)
    x = image(C1)
    with torch.no_grad():
        expected = block(x)
        block.convs.merge()
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, nn.Conv2d) for m in block.convs.modules()) == 1


def test_a_slope_keeps_two_convolutions_apart(image):
    block = VanillaBlock(C1, C2).eval()
    for module in block.modules():
        if isinstance(module, DeepConv):
            module.slope = 0.5
            module.merge()
    assert sum(isinstance(m, nn.Conv2d) for m in block.convs.modules()) == 2


def test_adaptive_pooling_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"ada_pool=38 pools every image to 38x38 .* stride"):
        VanillaBlock(C1, C2, 2, 3, False, 38)


@pytest.mark.parametrize("form", ["dilated", "plain"])
@pytest.mark.parametrize("M", [1, 2, 3])
def test_selective_kernel_is_a_weighted_sum_of_its_branches(form, M, image):
    block = SKConv(C2, C2, M=M, g=8, form=form).eval()
    randomise_batch_norm(block)
    x = image(C2)
    with torch.no_grad():
        maps = torch.stack([branch(x) for branch in block.branches])
        y = block(x)
    assert (y <= maps.amax(0) + 1e-5).all()
    assert (y >= maps.amin(0) - 1e-5).all()
    if M == 1:
        torch.testing.assert_close(y, maps[0])


@pytest.mark.parametrize("form", ["dilated", "plain"])
@pytest.mark.parametrize("s", [1, 2])
def test_selective_kernel_equals_its_equations(form, s, image):
    """Li et al., Eq. 1 to 6, written down once more, layer by layer from the block's own weights."""
    block = SKConv(C1, C2, s, M=3, g=8, r=4, L=16, form=form).eval()
    randomise_batch_norm(block)
    x = image(C1)

    def normalised(y, bn):
        return F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)

    with torch.no_grad():
        maps = []
        for i, branch in enumerate(block.branches):
            reach = {"dilation": 1 + i} if form == "dilated" else {}
            y = F.conv2d(x, branch.conv.weight, branch.conv.bias, s, 1 + i, groups=8, **reach)
            maps.append(F.relu(normalised(y, branch.bn)))
        z = torch.stack(maps).sum(0).mean((2, 3))
        if form == "plain":
            z = F.linear(z, block.squeeze.weight[:, :, 0, 0], block.squeeze.bias)
        else:
            z = F.relu(normalised(F.linear(z, block.squeeze.conv.weight[:, :, 0, 0]), block.squeeze.bn))
        logits = F.linear(z, block.select.weight[:, :, 0, 0], block.select.bias).view(2, 3, C2)
        weights = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
        expected = sum(weights[:, i, :, None, None] * maps[i] for i in range(3))
        torch.testing.assert_close(block(x), expected)


def test_dilated_branches_see_as_far_as_plain_ones():
    for i, (dilated, plain) in enumerate(
        zip(SKConv(C2, C2, M=3, g=8).branches, SKConv(C2, C2, M=3, g=8, form="plain").branches)
    ):
        reach = [(b.conv.kernel_size[0] - 1) * b.conv.dilation[0] + 1 for b in (dilated, plain)]
        assert reach == [3 + 2 * i] * 2
        assert dilated.conv.kernel_size == (3, 3)


def test_squeeze_learns_statistics_except_from_one_image():
    block = SKConv(C2, C2, g=8)
    before = block.squeeze.bn.running_mean.clone()
    block(torch.randn(1, C2, 8, 8))
    assert torch.equal(block.squeeze.bn.running_mean, before)
    block(torch.randn(2, C2, 8, 8))
    assert not torch.equal(block.squeeze.bn.running_mean, before)


@pytest.mark.parametrize("drop_path", [0.5, [0.0, 0.5]])
@pytest.mark.parametrize("stage", ["StarStage", "FasterStage"])
def test_stochastic_depth_drops_in_training_alone(stage, drop_path, image):
    model = registry.blocks()[stage].cls(C2, C2, 2, drop_path=drop_path)
    x = image(C2)[..., :8, :8].repeat(16, 1, 1, 1)  # that no image differs has a chance of 2**-32
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


MISTAKES = [
    (FasterStage, (32, 30, 1), "FasterStage: c2=30 is not divisible by n_div=4; change the YAML row"),
    (FasterStage, (32, 32, 1, 0), "FasterStage: n_div=0 has to be a whole number, at least 1"),
    (FasterStage, (32, 32, 1, 4, -1), "FasterStage: mlp_ratio=-1 has to be a number above 0"),
    (FasterStage, (32, 32, 1, 4, 2, "swoosh"), "FasterStage: act='swoosh' is no known activation; choose one of relu"),
    (FasterStage, (32, 32, 1, 4, 2, "relu", 1.0), "FasterStage: drop_path=1.0 has to be a number from 0 to below 1"),
    (FasterStage, (32, 32, 1, 4, 2, "relu", 0, 0, "cat"), "FasterStage: form='cat' is no form"),
    (SKConv, (64, 64, 1, 0), "SKConv: M=0 has to be a whole number, at least 1"),
    (SKConv, (64, 64, 1, 2, 7), "SKConv: c1=64 is not divisible by g=7"),
    (SKConv, (64, 64, 1, 2, 32, -16), "SKConv: r=-16 has to be a number above 0"),
    (SKConv, (64, 64, 1, 2, 8, 16, 32, "plane"), "SKConv: form='plane' is no form"),
    (SKConv, (32, 64, 1, 3, 1, 16, 32, "dilated", True), "SKConv: c1=32 is not divisible by M=3"),
    (SKUnit, (64, 64, 1, 2, 8, 16, 32, -0.5), "SKUnit: e=-0.5 has to be a number above 0"),
    (SKUnit, (64, 64, 1, 2, 8, 16, 32, 0.01), "SKUnit: e=0.01 leaves no channel of c2=64"),
    (SKUnit, (64, 64, 1, 2, 48), "SKUnit: c2*e=32 is not divisible by g=48"),
    (SKStage, (64, 32, 1), "SKStage: c2*e=16 is not divisible by g=32; change the YAML row or the width multiple"),
    (SKStage, (64, 64, 1, 0), "SKStage: s=0 has to be a whole number, at least 1"),
    (SKStage, (64, 64, 1, 1, 0), "SKStage: M=0 has to be a whole number, at least 1"),
    (SKStage, (64, 64, 1, 1, 3, 1, 16, 32, 0.5, "dilated", True), "SKStage: c2*e=32 is not divisible by M=3"),
    (SKStage, (64, 64, 1, 1, 2, 8, 16, 32, 0.5, "dilated", "no"), "SKStage: split='no' has to be True or False"),
    (SKStage, (64, 64, 0), "SKStage: n=0 has to be a whole number, at least 1"),
    (VanillaBlock, (64, 64, 0), "VanillaBlock: s=0 has to be a whole number, at least 1"),
    (VanillaBlock, (64, 64, 2, -1), "VanillaBlock: act_num=-1 has to be a whole number, at least 0"),
    (FasterStage, (32, 32, 1, 4, float("inf")), "FasterStage: mlp_ratio=inf has to be a number above 0"),
    ("StarStage", (64, 64, 1, 0.01), "StarStage: mlp_ratio=0.01 leaves no channel of c2=64"),
    ("StarStage", (64, 64, 1, 0), "StarStage: mlp_ratio=0 has to be a number above 0"),
    ("StarStage", (64, 64, 2, 4, [0.1]), "StarStage: drop_path=[0.1] has to be one rate, or a list of one for each"),
    ("StarStage", (64, 64, 1, 4, 0, "relu6", 4), "StarStage: k=4 has to be odd"),
    ("StarStem", (3, 64.5), "StarStem: c2=64.5 has to be a whole number"),
    ("StarStem", (3, 64, 3, 2, "relu", "no"), "StarStem: bias='no' has to be True or False"),
    ("StarDown", (64, 64, 3, 2, "no"), "StarDown: bias='no' has to be True or False"),
    ("VanillaStem", (3, 64, 4, 3, "no"), "VanillaStem: bias='no' has to be True or False"),
    ("VanillaBlock", (64, 64, 2, 3, 1), "VanillaBlock: bias=1 has to be True or False"),
]


@pytest.mark.parametrize(("block", "args", "message"), MISTAKES)
def test_a_mistaken_argument_is_named_with_its_rule(block, args, message):
    cls = registry.blocks()[block].cls if isinstance(block, str) else block
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        cls(*args)
