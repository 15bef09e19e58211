"""Blocks that remove channels themselves. tests/test_integrations.py prunes whole models."""

import pytest
import torch
from conftest import randomise_batch_norm
from torch import nn

from yolo_backbones.families.fasternet import C2f_Faster, C3k2_Faster, PartialConv
from yolo_backbones.families.lsknet import SelectiveKernel
from yolo_backbones.families.sknet import SKAttention, SKConv
from yolo_backbones.families.starnet import C2f_Star, C3k2_Star
from yolo_backbones.layers import prunable


@pytest.mark.parametrize("form", ["split_cat", "slicing"])
@pytest.mark.parametrize("kept", [[0, 2, 5, 6, 15], [1, 3], [7, 8, 11]], ids=["some", "convolved", "untouched"])
def test_what_is_left_of_a_partial_convolution(kept, form):
    """The removed channels were 0, so the others do not change."""
    block = PartialConv(16, n_div=4, form=form).eval()
    x = torch.zeros(2, 16, 8, 8)
    x[:, kept] = torch.randn(2, len(kept), 8, 8)
    with torch.no_grad():
        expected = block(x)[:, kept]
        block.keep(kept)
        assert block.width == len(kept)
        torch.testing.assert_close(block(x[:, kept]), expected)


def test_what_is_left_of_a_selective_kernel():
    """The removed channels are 0 and reach nothing: half of the reduced maps reads nothing else, and is removed too."""
    block = SelectiveKernel(8).eval()
    kept, removed = [0, 3, 4, 6], [1, 2, 5, 7]
    with torch.no_grad():
        block.expand.weight.normal_()
        for conv in (block.reduce_near, block.reduce_far):
            conv.weight[:, removed] = 0
            conv.weight[[1, 2]], conv.bias[[1, 2]] = 0, -1e3  # neither peak nor, with the others, a part of the gate
        block.expand.weight[:, [1, 2]] = 0
        x = torch.randn(2, 8, 16, 16)
        maps = [reduce(conv) for reduce, conv in zip((block.reduce_near, block.reduce_far), views(block, x))]
        block.keep(kept)
        assert block.width == 4 and block.expand.in_channels == 2
        left = [reduce(conv) for reduce, conv in zip((block.reduce_near, block.reduce_far), views(block, x[:, kept]))]
        for before, after in zip(maps, left):
            torch.testing.assert_close(after, before[:, [0, 3]])
        assert block(x[:, kept]).shape == (2, 4, 16, 16)


def views(block: SelectiveKernel, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    near = block.near(x)
    return near, block.far(near)


def test_a_selective_kernel_convolution_splits_as_its_branches_are_wide():
    block = SKConv(16, 8, M=2, g=1, split=True).eval()
    first, second = block.branches
    first.conv = nn.Conv2d(3, 8, 3, padding=1)
    second.conv = nn.Conv2d(6, 8, 3, padding=1)
    seen = []
    for branch in block.branches:
        branch.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(2, 9, 8, 8)
    with torch.no_grad():
        assert block(x).shape == (2, 8, 8, 8)
    assert torch.equal(torch.cat(seen, 1), x)


def test_a_pruner_sees_slices_in_place_of_a_split():
    block, x = SKConv(16, 8, M=2, g=1, split=True).eval(), torch.randn(2, 16, 8, 8, requires_grad=True)
    expected = block(x)
    with prunable.followed():
        found = block(x)
    torch.testing.assert_close(found, expected)
    names = {"split": steps(expected), "slice": steps(found)}
    assert any("SplitWithSizes" in name for name in names["split"]) and not any(
        "SplitWithSizes" in name for name in names["slice"]
    )
    assert not any("Slice" in name for name in steps(block(x)))


def steps(output: torch.Tensor) -> set[str]:
    """The names of what autograd noted."""
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is not None and step not in seen:
            seen.add(step)
            waiting += [before for before, _ in step.next_functions]
    return {step.name() for step in seen}


@pytest.mark.parametrize(("kernels", "group"), [([1, 3, 5, 7], 1), ([3, 5], 1), ([3, 5, 7], 8)])
def test_what_is_left_of_an_attention_by_selective_kernels(kernels, group):
    """The removed channels are 0, in and in each branch, so the others do not change."""
    block, kept, removed = SKAttention(8, 8, kernels, group=group).eval(), [0, 3, 4, 6], [1, 2, 5, 7]
    randomise_batch_norm(block)
    x = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        for branch in block.branches:
            branch.bn.weight[removed], branch.bn.bias[removed] = 0, 0
        x[:, removed] = 0
        expected = block(x)
        block.keep(kept)
        assert block.width == 4
        torch.testing.assert_close(block(x[:, kept]), expected[:, kept])


def test_an_attention_in_groups_is_not_pruned():
    with pytest.raises(ValueError, match="with group=2; write group=1"):
        SKAttention(8, 8, [3, 5], group=2).keep([0, 1])


@pytest.mark.parametrize("build", [C2f_Star, C2f_Faster, C3k2_Star, C3k2_Faster, lambda *args: C3k2_Star(*args, True)])
def test_a_divided_cross_stage_layer_gives_the_same(build):
    block, x = build(16, 32, 2).eval(), torch.randn(2, 16, 8, 8)
    randomise_batch_norm(block)
    with torch.no_grad():
        expected = block(x)
        parameters = sum(map(torch.numel, block.parameters()))
        for _ in range(2):
            block.divide()
        assert not hasattr(block, "cv1") and sum(map(torch.numel, block.parameters())) == parameters
        torch.testing.assert_close(block(x), expected)
