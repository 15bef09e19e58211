"""Pretrained weights: from the hub, from releases, from files; what is logged; and what goes wrong on the way."""

import argparse
import dataclasses
import io
import logging
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from conftest import randomise_batch_norm
from served import Handler
from torch import nn
from ultralytics.nn.modules import Conv

from yolo_backbones.backbones import find, is_backbone
from yolo_backbones.families import Variant, families, family_of
from yolo_backbones.families.vanillanet import VanillaNet, own_name
from yolo_backbones.weights import fit, report
from yolo_backbones.weights.loaded import IMAGENET, Weights

STARNET = "timm/starnet_s1.in1k"
RESNET = "timm/test_resnet.r160_in1k"  # 0.5 M parameters
HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


VARIANTS = [variant for family in families().values() for variant in family.variants]


def load(name: str, source, channels: int = 3) -> Weights:
    return find(name).load(source, channels)


def apply(network: nn.Module, weights: Weights, rename, name: str) -> None:
    family = family_of(name)
    fit.apply(network, weights, rename, name, family.classifier, family.unused)


@pytest.fixture
def log():
    """What Ultralytics' logger gets, as (level, message)."""
    lines = []

    class Collect(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    handler = Collect(logging.INFO)
    report.LOGGER.addHandler(handler)
    yield lines
    report.LOGGER.removeHandler(handler)


def network_of(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, **options).eval()
    randomise_batch_norm(network)
    return network


@pytest.fixture(scope="module")
def starnet():
    return network_of("starnet_s1")


@pytest.fixture(scope="module")
def starnet_file(starnet):
    return safetensors.torch.save(starnet.state_dict())


@pytest.fixture(scope="module")
def resnet():
    return network_of("test_resnet")


@pytest.fixture(scope="module")
def resnet_file(resnet):
    return safetensors.torch.save(resnet.state_dict())


def ours(name: str, **options) -> nn.Module:
    return family_of(name).variants[name].build(**options).eval()


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def kept_files(folder: Path) -> list[Path]:
    """What lies in the caches, the hub's notes to itself aside; links count, where they point to nothing as well."""
    parts = {"blobs", "snapshots", "checkpoints"}
    return [path for path in folder.rglob("*") if not path.is_dir() and parts & set(path.parts)]


def assert_same(state, other) -> None:
    assert state.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in state.items())


def one_sentence(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message and ". " not in message, message
    return message


def test_the_import_is_quick():
    code = "import sys, yolo_backbones.weights; print({'timm', 'huggingface_hub'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["set()"]


# ---- tags, mean and std ----


def test_tags():
    assert find("starnet_s1").tags() == ("in1k",)
    assert find("vanillanet_6").tags() == ("in1k",)
    assert find("sknet_50").tags() == find("skresnext50_32x4d").tags() == ("ra_in1k",)
    default, *others = find("vit_base_patch16_224").tags()
    assert default == timm.get_pretrained_cfg("vit_base_patch16_224").tag and "mae" in others
    for name in ("starnet_s050", "skresnet50", "sknet_26", "starnet"):
        assert not find(name).tags()
    for name in ("resnet18.a1_in1k", "no_such_network"):
        assert not is_backbone(name)


def test_our_networks_have_no_other_parts():
    """Of a new part at the end of one it has to be decided how it is called when a backbone leaves it out."""
    for name in VARIANTS:
        with torch.device("meta"):
            parts = {key.split(".")[0] for key in ours(name).state_dict()}
        assert parts <= {"stem", "stages"} | family_of(name).unused | family_of(name).classifier


def test_normalisation_is_what_the_weights_were_trained_with():
    for name in VARIANTS:
        for tag in find(name).tags():
            cfg = timm.get_pretrained_cfg(f"{name}.{tag}") if timm.is_model(name) else None
            expected = (cfg.mean, cfg.std) if cfg else IMAGENET
            assert find(name).normalisation(tag, 3) == find(name).normalisation(None, 3) == expected
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert find("vit_base_patch16_224").normalisation(None, 3) == half
    assert find("vit_base_patch16_224").normalisation("mae", 3) == IMAGENET
    assert find("starnet_s050").normalisation(None, 4) == (
        (0.485, 0.456, 0.406, 0.485),
        (0.229, 0.224, 0.225, 0.229),
    )
    mean, std = find("starnet_s050").normalisation(None, 1)
    assert mean == pytest.approx((0.449,), abs=1e-6) and std == pytest.approx((0.226,), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "tag", "says"),
    [
        ("starnet_s1", "in21k", "did you mean starnet_s1.in1k"),
        ("vit_base_patch16_224", "zzz", "augreg2_in21k_ft_in1k"),
        ("sknet_26", "in1k", "no weights are published for sknet_26; use the name without the tag"),
        ("starnet_s9", "in1k", "no backbone is called starnet_s9; did you mean starnet_s"),
    ],
)
def test_an_unknown_tag_names_the_known(point_at, name, tag, says):
    with pytest.raises(ValueError, match=says) as error:
        load(name, tag)
    assert name in one_sentence(error)


# ---- from the hub ----


def test_a_tag_loads_from_the_hub_once(online, log, starnet, starnet_file):
    online.publish(STARNET, starnet_file)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    found = load("starnet_s1", "in1k")
    assert torch.equal(torch.rand(3), expected), "loading must not change what is drawn afterwards"
    assert_same(found.state, starnet.state_dict())
    assert found.naming == "timm" and found.classifier == ("head.weight", "head.bias")
    assert (found.mean, found.std) == IMAGENET

    network = ours("starnet_s1")
    apply(network, found, family_of("starnet_s1").own_name, "starnet_s1")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(image), starnet(image), rtol=1e-4, atol=1e-5)
    count = len(starnet.state_dict())
    assert log == [
        ("INFO", f"yolo_backbones: starnet_s1: {count} of {count} tensors from {STARNET} (Hugging Face hub)")
    ]

    asked = len(online.asked)
    assert_same(load("starnet_s1", "in1k").state, starnet.state_dict())
    assert len(online.asked) == asked, "what is in the cache needs no look at the hub"


def test_the_cache_serves_without_a_network(online, point_at, monkeypatch, resnet, resnet_file):
    online.publish(RESNET, resnet_file)
    load("test_resnet", "r160_in1k")
    point_at("http://127.0.0.1:9")
    for offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())


def test_a_file_in_pickled_form_serves_where_there_is_no_other(online, resnet):
    online.publish(RESNET, saved(resnet.state_dict()), "pytorch_model.bin")
    assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())


@pytest.mark.parametrize("offline", [False, True])
def test_no_network_is_said_at_once(point_at, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    for name, tag in (("starnet_s1", "in1k"), ("vanillanet_5", "in1k"), ("sknet_50", "ra_in1k")):
        start = time.perf_counter()
        says = rf"{name}\.{tag}: .*weights=path.*without the tag, {name}$"
        with pytest.raises(ConnectionError, match=says) as error:
            load(name, tag)
        assert time.perf_counter() - start < 5
        one_sentence(error)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


BAD = {
    "truncated": (lambda good: cut(good), "truncated"),
    "html": (lambda good: HTML, "HTML page"),
    "empty": (lambda good: b"", "is empty"),
    "other network": (lambda good: safetensors.torch.save({"conv1.weight": torch.ones(8, 3, 3, 3)}), "another network"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_on_the_hub_is_not_kept(online, caches, resnet, resnet_file, kind):
    spoil, says = BAD[kind]
    online.publish(RESNET, spoil(resnet_file))
    with pytest.raises(ValueError, match=rf"test_resnet\.r160_in1k: .*{says}.*weights=path") as error:
        load("test_resnet", "r160_in1k")
    one_sentence(error)
    assert not kept_files(caches)
    online.publish(RESNET, resnet_file)
    assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())


def test_a_damaged_file_in_the_hubs_cache_is_fetched_again(online, caches, log, resnet, resnet_file):
    online.publish(RESNET, resnet_file)
    load("test_resnet", "r160_in1k")
    blob, _ = sorted(kept_files(caches))
    blob.write_bytes(cut(resnet_file))
    assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())
    assert [level for level, _ in log] == ["WARNING"] and "truncated" in log[0][1]


def test_a_page_in_place_of_the_hub_is_no_network(online):
    """A login page answers every address, without what the hub says of its files."""
    online.files = dict.fromkeys([f"/{RESNET}/resolve/main/model.safetensors"], HTML)
    online.RequestHandlerClass = type("Page", (Handler,), {"send_header": _without_hub_headers})
    with pytest.raises(ConnectionError, match="test_resnet") as error:
        load("test_resnet", "r160_in1k")
    one_sentence(error)


def _without_hub_headers(self, name, value):
    if name not in {"ETag", "X-Repo-Commit"}:
        BaseHTTPRequestHandler.send_header(self, name, value)


def test_a_hub_repository_without_weights(online):
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor pytorch_model\.bin") as error:
        load("test_resnet", "r160_in1k")
    one_sentence(error)


def test_images_of_other_channels(online, starnet, starnet_file):
    online.publish(STARNET, starnet_file)
    own = family_of("starnet_s1").own_name
    for channels in (1, 4):
        found = load("starnet_s1", "in1k", channels)
        first = timm.models.adapt_input_conv(channels, starnet.stem[0].conv.weight)
        assert torch.equal(found.state["stem.0.conv.weight"], first)
        assert len(found.mean) == len(found.std) == channels
        network = ours("starnet_s1", channels=channels)
        apply(network, found, own, "starnet_s1")
        assert torch.equal(network.stem.conv.weight, first)


# ---- from a url ----


@pytest.fixture
def by_url(online, monkeypatch):
    """Has timm know test_resnet's weights by url alone, as it does a few others'."""
    registry = timm.models._registry._model_pretrained_cfgs
    url = f"{online.url}/files/test_resnet.pth"
    cfg = dataclasses.replace(registry["test_resnet.r160_in1k"], hf_hub_id=None, url=url)
    monkeypatch.setitem(registry, "test_resnet.r160_in1k", cfg)
    return url.removeprefix(online.url)


def test_weights_by_url(online, by_url, caches, point_at, resnet):
    online.files[by_url] = saved(resnet.state_dict())
    found = load("test_resnet", "r160_in1k")
    assert_same(found.state, resnet.state_dict())
    assert found.origin == online.url + by_url
    folder = caches / "torch" / "hub" / "checkpoints"
    assert sorted(kept_files(caches)) == [folder / "test_resnet.pth", folder / "test_resnet.pth.sha256"]
    asked = len(online.asked)
    assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())
    assert len(online.asked) == asked == 1


@pytest.mark.parametrize("kind", ["breaks off", "missing", *BAD])
def test_a_bad_file_at_a_url_is_not_kept(online, by_url, caches, resnet, kind):
    good = saved(resnet.state_dict())
    error_type: type[Exception] = ConnectionError
    if kind == "breaks off":
        says, online.breaks_off, online.files[by_url] = "broke off after", {by_url}, good
    elif kind == "missing":
        says = "404"
    else:
        spoil, says = BAD[kind]
        error_type, online.files[by_url] = ValueError, spoil(good)
    with pytest.raises(error_type, match=rf"test_resnet\.r160_in1k: .*{says}") as error:
        load("test_resnet", "r160_in1k")
    one_sentence(error)
    assert not [path for path in caches.rglob("*") if path.is_file()]
    online.files[by_url], online.breaks_off = good, set()
    assert_same(load("test_resnet", "r160_in1k").state, resnet.state_dict())


# ---- VanillaNet ----


@pytest.fixture
def vanilla(monkeypatch):
    """A small network under the name of a published one, and its state dict in the authors' names."""
    small = Variant(VanillaNet, {"dims": (8, 12, 16, 16), "strides": (2, 2, 1), "num_classes": 20}, 0)
    family = family_of("vanillanet_5")
    monkeypatch.setitem(
        families(), family.name, dataclasses.replace(family, variants={**family.variants, "vanillanet_5": small})
    )
    torch.manual_seed(0)
    network = small.build().eval()
    network.slope = 1.0  # published networks are trained to the end
    randomise_batch_norm(network)
    batch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    theirs = ["cls2.0.weight", "cls2.0.bias"]
    for pair in ("stem1", "stem2", *(f"stages.{i}.conv{j}" for i in range(3) for j in (1, 2)), "cls1"):
        conv = 2 if pair == "cls1" else 0
        theirs += [f"{pair}.{conv}.weight", f"{pair}.{conv}.bias", *(f"{pair}.{conv + 1}.{key}" for key in batch_norm)]
    for act in ("stem2.2", *(f"stages.{i}.act" for i in range(3))):
        theirs += [f"{act}.weight", *(f"{act}.bn.{key}" for key in batch_norm)]
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("act_learn")}
    assert sorted(map(own_name, theirs)) == sorted(state)
    return network, {key: state[own_name(key)] for key in theirs}


def training_checkpoint(state) -> bytes:
    """As the authors' script writes it."""
    return saved(
        {
            "model": {key: torch.zeros_like(value) for key, value in state.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "epoch": 299,
            "args": argparse.Namespace(model="vanillanet_5"),
            "model_ema": state,
        }
    )


RELEASE = "/ckpt/vanillanet_5.pth"


def test_vanillanet_from_its_authors_release(online, log, caches, vanilla):
    reference, state = vanilla
    online.files[RELEASE] = training_checkpoint(state)
    found = load("vanillanet_5", "in1k")
    assert_same(found.state, state)
    assert found.naming == "authors" and (found.mean, found.std) == IMAGENET
    network = ours("vanillanet_5")
    network.drop_classifier()
    apply(network, found, own_name, "vanillanet_5")
    kept = reference.state_dict()
    assert_same(network.state_dict(), {key: value for key, value in kept.items() if not key.startswith("head.")})
    origin = f"{online.url}{RELEASE}"
    left_out = "cls2.0.weight, cls2.0.bias, cls1.2.weight, cls1.2.bias, cls1.3.weight and 4 more (the classifier)"
    assert log == [
        (
            "INFO",
            f"yolo_backbones: vanillanet_5: {len(state) - 9} of {len(state)} tensors from {origin}; "
            f"left out: {left_out}",
        )
    ]
    assert_same(load("vanillanet_5", "in1k").state, state)
    assert online.asked == [RELEASE]
    adapted = load("vanillanet_5", "in1k", channels=1).state["stem1.0.weight"]
    assert torch.equal(adapted, state["stem1.0.weight"].sum(1, keepdim=True))


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_release_is_not_kept(online, caches, vanilla, kind):
    _, state = vanilla
    spoil, says = BAD[kind]
    online.files[RELEASE] = spoil(training_checkpoint(state))
    with pytest.raises(ValueError, match=rf"vanillanet_5\.in1k: .*{says}") as error:
        load("vanillanet_5", "in1k")
    one_sentence(error)
    assert not [path for path in caches.rglob("*") if path.is_file()]
    online.files[RELEASE] = training_checkpoint(state)
    assert_same(load("vanillanet_5", "in1k").state, state)


def test_a_damaged_release_in_the_cache_is_fetched_again(online, log, vanilla):
    _, state = vanilla
    online.files[RELEASE] = good = training_checkpoint(state)
    folder = Path(os.environ["TORCH_HOME"], "hub", "checkpoints")
    folder.mkdir(parents=True)
    (folder / "vanillanet_5.pth").write_bytes(cut(good))
    assert_same(load("vanillanet_5", "in1k").state, state)
    assert (folder / "vanillanet_5.pth").read_bytes() == good
    assert [level for level, _ in log] == ["WARNING"]


def test_merged_vanillanet_is_refused(vanilla, tmp_path):
    network, _ = vanilla
    network.merge()
    theirs = {"stem.0.weight": torch.ones(8, 3, 4, 4), "stages.0.conv.weight": torch.ones(12, 8, 1, 1)}
    for state in (network.state_dict(), theirs):
        torch.save(state, tmp_path / "merged.pth")
        with pytest.raises(ValueError, match="before merging") as error:
            load("vanillanet_5", tmp_path / "merged.pth")
        one_sentence(error)


# ---- from a file ----


def write(path: Path, state) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    else:
        torch.save(state, path)
    return path


def in_our_names(state, name="starnet_s1"):
    return {family_of(name).own_name(key): value for key, value in state.items()}


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth", "weights.npz"])
def test_a_file_in_timms_names_or_ours(tmp_path, log, starnet, file):
    state = starnet.state_dict()
    expected = in_our_names(state)
    for naming, content in (("timm", state), ("own", expected)):
        found = load("starnet_s1", str(write(tmp_path / file, content)))
        assert_same(found.state, content)
        assert found.naming == naming and found.origin == str(tmp_path / file)
        network = ours("starnet_s1")
        apply(network, found, family_of("starnet_s1").own_name, "starnet_s1")
        assert_same(network.state_dict(), expected)
    assert [level for level, _ in log] == ["INFO", "INFO"]


def test_a_file_in_the_authors_names(tmp_path, vanilla):
    reference, state = vanilla
    (tmp_path / "checkpoint.pth").write_bytes(training_checkpoint(state))
    network = ours("vanillanet_5")
    apply(network, load("vanillanet_5", tmp_path / "checkpoint.pth"), own_name, "vanillanet_5")
    assert_same(network.state_dict(), reference.state_dict())


def test_a_checkpoint_of_parallel_training(tmp_path, starnet):
    state = starnet.state_dict()
    wrapped = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    assert_same(load("starnet_s1", write(tmp_path / "last.pth", wrapped)).state, state)


@pytest.mark.parametrize("classes", [10, 0])
def test_a_file_with_another_classifier_is_no_surprise(tmp_path, log, starnet, classes):
    state = {key: value for key, value in starnet.state_dict().items() if not key.startswith("head.")}
    if classes:
        state |= {"head.weight": torch.ones(classes, 192), "head.bias": torch.ones(classes)}
    path = write(tmp_path / "weights.pth", state)
    network = ours("starnet_s1")
    network.drop_classifier()
    apply(network, load("starnet_s1", path), family_of("starnet_s1").own_name, "starnet_s1")
    ((level, message),) = log
    assert level == "INFO"
    assert ("; left out: head.weight, head.bias (the classifier)" in message) == bool(classes)
    assert "norm.num_batches_tracked (behind the last map used)" in message


def test_the_network_may_keep_its_own_classifier(tmp_path, log, starnet):
    state = {**starnet.state_dict(), "head.weight": torch.ones(10, 192), "head.bias": torch.ones(10)}
    network = ours("starnet_s1")
    before = network.head.weight.clone()
    found = load("starnet_s1", write(tmp_path / "weights.pth", state))
    apply(network, found, family_of("starnet_s1").own_name, "starnet_s1")
    assert torch.equal(network.head.weight, before)
    assert log[0][0] == "INFO" and "left out: head.weight, head.bias (the classifier)" in log[0][1]


def test_a_file_that_lacks_some_is_warned_of(tmp_path, log, starnet):
    state = {key: value for key, value in starnet.state_dict().items() if not key.startswith("stages.3.")}
    state["extra.weight"] = torch.ones(3)
    network = ours("starnet_s1")
    untouched = network.stages[3][0].conv.weight.clone()
    found = load("starnet_s1", write(tmp_path / "weights.pth", state))
    apply(network, found, family_of("starnet_s1").own_name, "starnet_s1")
    assert torch.equal(network.stages[3][0].conv.weight, untouched)
    assert torch.equal(network.stem.conv.weight, starnet.stem[0].conv.weight)
    lacking = [k for k in network.state_dict() if k.startswith("stages.3.") and "num_batches" not in k]
    ((level, message),) = log
    assert level == "WARNING"
    assert f"{len(state) - 1} of {len(state)} tensors" in message
    assert "left out: extra.weight (not part of the network)" in message
    assert f"stages.3.0.conv.weight, {', '.join(lacking[1:5])} and {len(lacking) - 5} more" in message


def test_weights_of_another_network_are_refused(tmp_path, starnet):
    other = network_of("starnet_s050").state_dict()
    for state, says in (
        (other, r"would have to be 24x32x3x3"),
        (network_of("test_resnet").state_dict(), r"none of its \d+ tensors fits"),
    ):
        with pytest.raises(ValueError, match=f"another network: .*{says}.*; give the weights of starnet_s1") as error:
            load("starnet_s1", write(tmp_path / "weights.pth", state))
        one_sentence(error)
    empty = Weights({"a": torch.ones(1)}, "timm", (), *IMAGENET, "a file")
    with pytest.raises(ValueError, match="none of the 1 tensors from a file fits"):
        apply(ours("starnet_s1"), empty, None, "starnet_s1")


NO_WEIGHTS = {
    "truncated.safetensors": (
        lambda good: cut(safetensors.torch.save(good)),
        "damaged; download it again",
    ),
    "truncated.pth": (lambda good: cut(saved(good)), "truncated or damaged"),
    "truncated.npz": (lambda good: saved(good)[:-100], "truncated or damaged"),
    "empty.pth": (lambda good: b"", "is empty"),
    "page.pth": (lambda good: b"\n\n" + HTML, "HTML page"),
    "page.safetensors": (lambda good: HTML, "HTML page"),
    "pointer.bin": (lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "notes.pt": (lambda good: b"epoch,loss\n1,0.5\n", "no file of weights"),
    "yolo.pt": (lambda good: saved({"epoch": -1, "model": Conv(3, 8)}), "Ultralytics.*`pretrained=` or `model=`"),
    "whole.pth": (lambda good: saved(nn.Sequential(timm.layers.BatchNormAct2d(3))), "Python objects besides tensors"),
    "numbers.pth": (lambda good: saved({"loss": 0.5}), "holds no state dict"),
    "list.pth": (lambda good: saved([torch.ones(3)]), "holds no state dict"),
}


@pytest.mark.parametrize("name", ["starnet_s1", "test_resnet"])
@pytest.mark.parametrize("file", NO_WEIGHTS)
def test_a_file_without_weights_says_what_it_is(tmp_path, file, name):
    content, says = NO_WEIGHTS[file]
    (tmp_path / file).write_bytes(content({"conv1.weight": torch.ones(64, 3, 3, 3)}))
    with pytest.raises(ValueError, match=rf"^{name}: .*{says}") as error:
        load(name, tmp_path / file)
    assert str(tmp_path / file) in one_sentence(error)
    assert (tmp_path / file).exists(), "the user's files are the user's"


def test_no_such_file(tmp_path):
    for path, says in ((tmp_path / "no.pth", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(FileNotFoundError, match=says) as error:
            load("starnet_s1", str(path))
        one_sentence(error)
    with pytest.raises(FileNotFoundError, match=r"no\.pth"):
        load("starnet_s1", "no.pth")


# ---- timm's other networks ----


def test_a_timm_network_by_tag(online):
    tag = find("test_vit").tags()[0]
    network = network_of("test_vit")
    online.publish(f"timm/test_vit.{tag}", safetensors.torch.save(network.state_dict()))
    found = load("test_vit", tag)
    assert_same(found.state, network.state_dict())
    cfg = network.pretrained_cfg
    assert found.classifier == ("head.weight", "head.bias") and found.mean == cfg["mean"] != IMAGENET[0]


@pytest.mark.parametrize("classes", [1000, 10, 0])
def test_a_file_for_a_timm_network(tmp_path, classes):
    network = network_of("test_vit", num_classes=classes)
    found = load("test_vit", write(tmp_path / "vit.safetensors", network.state_dict()))
    assert_same(found.state, network.state_dict())
    assert found.classifier == (("head.weight", "head.bias") if classes else ())


def test_position_embeddings_of_another_size_are_resized(tmp_path):
    state = network_of("test_vit", img_size=96).state_dict()
    found = load("test_vit", write(tmp_path / "vit.pth", state))
    assert found.state["pos_embed"].shape == network_of("test_vit").pos_embed.shape != state["pos_embed"].shape


@pytest.mark.parametrize("channels", [1, 4])
def test_a_file_for_a_timm_network_of_other_channels(tmp_path, channels):
    network = network_of("test_resnet")
    found = load("test_resnet", write(tmp_path / "resnet.pth", network.state_dict()), channels)
    first = network.pretrained_cfg["first_conv"] + ".weight"
    assert torch.equal(found.state[first], timm.models.adapt_input_conv(channels, network.state_dict()[first]))
    same = network_of("test_resnet", in_chans=channels)
    found = load("test_resnet", write(tmp_path / "resnet.pth", same.state_dict()), channels)
    assert_same(found.state, same.state_dict())


def test_a_file_for_a_timm_network_that_lacks_some_is_handed_on(tmp_path):
    state = network_of("test_resnet").state_dict()
    partial = {key: value for key, value in state.items() if not key.startswith("layer4.")}
    assert partial.keys() < state.keys()
    assert_same(load("test_resnet", write(tmp_path / "resnet.pth", partial)).state, partial)


def test_a_file_of_another_timm_network_is_refused(tmp_path, starnet):
    path = write(tmp_path / "starnet.pth", starnet.state_dict())
    for name in ("test_resnet", "test_vit"):
        with pytest.raises(ValueError, match=f"another network.*give the weights of {name}") as error:
            load(name, path)
        one_sentence(error)


def test_report_tells_expected_from_unexpected(log):
    found = Weights({"a": torch.ones(1), "b": torch.ones(1)}, "timm", (), *IMAGENET, "a file")
    report.report(found, 1, [], {"b": report.UNUSED}, "net")
    report.report(found, 1, [], {"b": "no reason"}, "net")
    report.report(found, 2, ["c"], {}, "net")
    assert [level for level, _ in log] == ["INFO", "WARNING", "WARNING"]
    with pytest.raises(ValueError, match="none of the 2 tensors from a file fits"):
        report.report(found, 0, [], {}, "net")
