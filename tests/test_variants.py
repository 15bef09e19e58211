"""Published networks: the same parameters, the same operations and the same features as their references."""

import re

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolo_backbones.families import families, vanillanet
from yolo_backbones.families.sknet import SKConv, SKUnit
from yolo_backbones.families.vanillanet import VanillaNet

VARIANTS = {name: (family, variant) for family in families().values() for name, variant in family.variants.items()}
IN_TIMM = {
    name: family.same_in_timm.get(name, name)
    for name, (family, _) in VARIANTS.items()
    if timm.is_model(family.same_in_timm.get(name, name))
}
ORACLES = [family for family in families().values() if family.oracle is not None]
EXACT = 1e-5


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def randomised(model: nn.Module) -> nn.Module:
    """Gives a model built on the meta device random parameters and statistics.

    BatchNorm's as well: fresh ones are 0 and 1, with which a forgotten BatchNorm would go unnoticed.
    """
    model = model.to_empty(device="cpu").eval()
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "norm.weight", "bn.weight", "bn1.weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif value.is_floating_point():
            value.normal_(std=0.1)
    return model


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_tells_the_truth(name):
    _, variant = VARIANTS[name]
    with torch.device("meta"):
        model = variant.build().eval()
        image = torch.empty(1, 3, 224, 224)
    assert sum(p.numel() for p in model.parameters()) == variant.parameters
    if variant.merged is not None:
        model.merge()
        folded = [m for m in model.modules() if hasattr(m, "bn")]
        # A folded BatchNorm leaves a bias where the convolution has none, as in the authors' series activation.
        gone = sum(m.bn.weight.numel() * (2 if m.conv.bias is not None else 1) for m in folded)
        assert sum(p.numel() for p in model.parameters()) - gone == variant.merged
    if variant.gmacs is not None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
        assert counter.get_total_flops() / 2e9 == pytest.approx(variant.gmacs, rel=0.01)


@pytest.mark.parametrize("name", IN_TIMM)
def test_features_equal_timm_at_every_stage(name):
    family, variant = VARIANTS[name]
    torch.manual_seed(0)
    with torch.device("meta"):
        reference, ours = timm.create_model(IN_TIMM[name]), variant.build().eval()
    # In double precision: StarNet multiplies map by map, block after block, and each product doubles the relative error
    # of rounding. With random weights nothing of single precision is left behind the last of s4's 23 blocks.
    reference = randomised(reference).double()
    state = {family.own_name(key): value for key, value in reference.state_dict().items()}
    ours.load_state_dict(state, assign=True)  # strict: every name of either side is met
    image = torch.randn(2, 3, 64, 96, dtype=torch.double)
    with torch.no_grad():
        final, maps = reference.forward_intermediates(image)
        features = ours.forward_features(image)
        logits = reference.forward_head(final)
        for feature, expected in zip(features, maps[-4:], strict=True):
            assert relative_error(feature, expected) < EXACT
        assert relative_error(ours(image), logits) < EXACT


@pytest.mark.parametrize("family", families().values(), ids=families())
def test_every_family_has_a_reference(family):
    """timm's network of the same class, or outputs of the authors' code; else nothing holds the family to its paper."""
    classes = {variant.network for variant in family.variants.values()}
    held = {family.variants[name].network for name in family.variants if name in IN_TIMM}
    if family.oracle is not None:
        held.add(type(family.oracle.network()))
    assert classes and classes <= held, (
        f"{family.name}: neither timm has {classes - held}, nor does FAMILY name an oracle"
    )


@pytest.mark.parametrize("family", ORACLES, ids=lambda family: family.name)
def test_features_equal_the_authors(family, shared_dir):
    data = oracle(shared_dir, family.oracle.file, "")
    model = family.oracle.network().eval()
    state = {family.own_name(key.removeprefix("state/")): v for key, v in data.items() if key.startswith("state/")}
    lacking, unknown = model.load_state_dict(state, strict=False)
    # The authors' backbone may come without a classifier; nothing else may be missing, and nothing left over.
    assert not unknown and {key.split(".")[0] for key in lacking if "num_batches" not in key} <= family.classifier
    pattern = re.escape(family.oracle.features).replace(r"\{\}", r"(\d+)")
    names = sorted(
        (key for key in data if re.fullmatch(pattern, key)), key=lambda key: int(re.fullmatch(pattern, key)[1])
    )
    assert names
    with torch.no_grad():
        for feature, name in zip(model.forward_features(data["input"]), names, strict=True):
            assert relative_error(feature, data[name]) < EXACT


def oracle(shared, file: str, prefix: str) -> dict[str, torch.Tensor]:
    with np.load(shared / "oracles" / file) as arrays:
        return {k.removeprefix(prefix): torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith(prefix)}


@pytest.fixture(scope="module")
def vanillanet_tiny(shared_dir):
    tiny = oracle(shared_dir, "vanillanet_tiny.npz", "")
    model = VanillaNet((16, 24, 40, 64, 64), (2, 2, 2, 1), num_classes=10).eval()
    state = {key.removeprefix("state/"): value for key, value in tiny.items() if key.startswith("state/")}
    model.load_state_dict({vanillanet.own_name(key): value for key, value in state.items()})
    return model, tiny


def assert_equals_oracle(model: VanillaNet, tiny: dict[str, torch.Tensor], form: str) -> None:
    with torch.no_grad():
        features = model.forward_features(tiny["input"])
        for i, feature in enumerate(features):
            assert relative_error(feature, tiny[f"{form}/feature{i}"]) < EXACT
        assert i == 4
        assert relative_error(model(tiny["input"]), tiny[f"{form}/logits"]) < EXACT


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_vanillanet_equals_the_authors(vanillanet_tiny, slope):
    model, tiny = vanillanet_tiny
    model.slope = slope
    assert_equals_oracle(model, tiny, f"act_learn={slope}")


def test_vanillanet_merges_at_slope_1_alone(vanillanet_tiny):
    model, tiny = vanillanet_tiny
    model.slope = 0.3
    model.merge()
    assert_equals_oracle(model, tiny, "act_learn=0.3")
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 17
    model.slope = 1.0
    model.merge()
    model.merge()
    assert_equals_oracle(model, tiny, "deploy")
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 11


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_vanillanet_equals_its_equations(slope):
    """Chen et al., Sec. 3, written down once more, layer by layer from the network's own weights."""
    with torch.device("meta"):
        model = VanillaNet((8, 12, 16, 16), (2, 2, 1), num_classes=5)
    model = randomised(model)
    model.slope = slope
    weights = model.state_dict()

    def conv(x, key, **options):
        x = F.conv2d(x, weights[f"{key}.conv.weight"], weights.get(f"{key}.conv.bias"), **options)
        bn = [weights[f"{key}.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *bn, eps=1e-6)

    def activation(x, key):
        return conv(F.relu(x), f"{key}.act.series", padding=3, groups=x.shape[1])

    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        x = F.leaky_relu(conv(image, "stem.convs.conv1", stride=4), slope)
        expected = [activation(conv(x, "stem.convs.conv2"), "stem")]
        for i, s in enumerate((2, 2, 1)):
            x = F.leaky_relu(conv(expected[-1], f"stages.{i}.convs.conv1"), slope)
            x = conv(x, f"stages.{i}.convs.conv2")
            expected.append(activation(F.max_pool2d(x, s), f"stages.{i}"))
        x = F.leaky_relu(conv(expected[-1].mean((2, 3), keepdim=True), "head.conv1"), slope)
        logits = F.conv2d(x, weights["head.conv2.weight"], weights["head.conv2.bias"]).flatten(1)
        for feature, reference in zip(model.forward_features(image), expected, strict=True):
            assert relative_error(feature, reference) < EXACT
        assert relative_error(model(image), logits) < EXACT
        if slope == 1:
            model.merge()
            assert relative_error(model(image), logits) < EXACT


SK_ORACLES = {
    "skconv_m2": lambda: SKConv(32, 32, g=8, r=2, L=32, form="plain"),
    "skconv_m3_s2": lambda: SKConv(32, 32, 2, M=3, g=4, r=4, L=16, form="plain"),
    "skunit_same": lambda: SKUnit(64, 64, g=8, r=2, form="plain"),
    "skunit_down": lambda: SKUnit(32, 64, 2, g=8, r=2, form="plain"),
}


def plain_sk_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The plain form's parameters under our names: one linear layer a branch becomes one convolution for all."""
    renamed, attention = {}, {}
    for key, value in state.items():
        head, _, tail = key.rpartition("feas.2.")
        unit = "sk." if head or key.startswith("feas.2.") else ""
        parts = (tail if unit else key).split(".")
        layer = {"0": "conv", "1": "bn"}
        if parts[0] == "convs":
            renamed[f"{unit}branches.{parts[1]}.{layer[parts[2]]}.{parts[3]}"] = value
        elif parts[0] == "fc":
            renamed[f"{unit}squeeze.{parts[1]}"] = value[..., None, None] if parts[1] == "weight" else value
        elif parts[0] == "fcs":
            attention.setdefault(f"{unit}select.{parts[2]}", []).append(value)
        elif parts[0] == "shortcut":
            renamed[f"shortcut.{layer[parts[1]]}.{parts[2]}"] = value
        else:
            name = {"0": "reduce.conv", "1": "reduce.bn", "3": "norm", "4": "expand.conv", "5": "expand.bn"}[parts[1]]
            renamed[f"{name}.{parts[2]}"] = value
    for name, values in attention.items():
        joined = torch.cat(values)
        renamed[name] = joined[..., None, None] if name.endswith("weight") else joined
    return renamed


@pytest.mark.parametrize("name", SK_ORACLES)
def test_plain_selective_kernel_equals_the_oracle(shared_dir, name):
    data = oracle(shared_dir, "skconv_seed.npz", f"{name}/")
    block = SK_ORACLES[name]().eval()
    state = {key.removeprefix("state/"): value for key, value in data.items() if key.startswith("state/")}
    block.load_state_dict(plain_sk_state(state))
    with torch.no_grad():
        assert relative_error(block(data["input"]), data["output"]) < EXACT
        block.merge()
        assert relative_error(block(data["input"]), data["output"]) < EXACT
        assert not isinstance(block, SKUnit) or isinstance(block.norm, nn.Identity)
