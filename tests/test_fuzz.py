"""Rows, names, whole YAMLs and the command's arguments at random: each ends in a model, or in an error one can act on.

    FUZZ_EXAMPLES=50000 FUZZ_SEED=1 pytest tests/test_fuzz.py     # `make fuzz` draws a seed

FUZZ_SEED is what the cases are drawn from, and is printed; the same number gives the same cases of the same code.
FUZZ_EXAMPLES is their number, 5,000 by default, all kinds together.
"""

import contextlib
import copy
import faulthandler
import io
import os
import re
import signal
import sys

import pytest
import torch
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from yolo_backbones import cli, configs, dialects, registry
from yolo_backbones.backbones import is_backbone
from yolo_backbones.seam import block_rows

pytestmark = pytest.mark.slow  # thousands of cases

SEED = int(os.environ.get("FUZZ_SEED", "0"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5000"))
LONGEST = 30  # seconds that a case may compute
# Seconds by the clock, where it waits, or computes without coming back to Python; then the process ends, and tells
# where it was. Many more than the others: a machine that others share may stand still for minutes.
LAST = 600
# What a mistake in a YAML may end in. MemoryError, KeyError and RecursionError would be our fault.
EXPECTED = (ValueError, TypeError, FileNotFoundError, ConnectionError)


def fuzz(share: float):
    """Draws that share of the cases."""

    def decorate(test):
        test = settings(
            max_examples=max(round(EXAMPLES * share), 1),
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )(test)
        return seed(SEED)(test)

    return decorate


@pytest.fixture(autouse=True)
def told():
    print(f"FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}")
    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    yield
    LOGGER.setLevel(level)


@contextlib.contextmanager
def in_time():
    faulthandler.dump_traceback_later(LAST, exit=True, file=sys.__stderr__)
    timed = hasattr(signal, "setitimer")  # not on Windows
    if timed:
        before = signal.signal(signal.SIGPROF, out_of_time)
        signal.setitimer(signal.ITIMER_PROF, LONGEST * torch.get_num_threads())
    try:
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        faulthandler.cancel_dump_traceback_later()


def out_of_time(*_):
    raise AssertionError(f"the case has computed for {LONGEST} seconds")


def assert_helps(error: BaseException, *words: str) -> None:
    message = str(error)
    assert 0 < len(message) < 600 and len(message.splitlines()) <= 3, f"{type(error).__name__}: {message[:1000]}"
    for word in words:
        assert word in message, f"{word} is not in: {message}"


NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([0, 1 << 16, (1 << 16) + 1, 10**9, 10**400, -(10**9), 100001]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([1e-300, 0.5, 1.0, 2.0, 1e300]),
)
WORDS = st.one_of(
    st.sampled_from(["relu", "ReLU6", "leaky relu", "nc", "None", "no", "true", "3", "[1, 2]", "d", "", "((((("]),
    st.sampled_from(["__import__('os').system('touch FUZZED')", "open('FUZZED', 'w')", "9" * 5000, "nn.ReLU()"]),
    st.text(max_size=20),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
STEMS = sorted({path.stem for path in configs.models().values()})
# Files of tutorials and forks, all but those that ask for weights or take long to build.
FOREIGN = [
    path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "tests" / "data" / "dialects").glob("*.yaml"))
    if not any(word in path.stem for word in ("pretrained", "vit", "rtdetr"))
]


@pytest.fixture(scope="module", autouse=True)
def blocks():
    block_rows.load()


def config_of(stem: str, width: float = 0.0625) -> dict:
    config = yaml.safe_load((ROOT / "cfg" / f"{stem}.yaml").read_text(encoding="utf-8"))
    if "skconv" in stem:
        width = 0.25  # 32 groups
    return config | {"scales": {"n": [0.33, width, 1024]}, "scale": "n", "yaml_file": f"{stem}.yaml"}


@st.composite
def changed_rows(draw) -> dict:
    """A family's config, or one of a fork, in which one row has one mistake, or none."""
    if draw(st.integers(0, 3)):
        config = config_of(draw(st.sampled_from(STEMS)))
    else:
        config = yaml.safe_load(draw(st.sampled_from(FOREIGN))) | {"scale": "", "yaml_file": "theirs.yaml"}
        narrow = {"scales": {"n": [0.33, 0.0625, 1024]}} if config.get("scales") else {"width_multiple": 0.125}
        config.update(narrow)
    own = [i for i, row in enumerate(config["backbone"]) if row[2] not in vars(tasks) or row[2] in registry.blocks()]
    i = draw(st.sampled_from(own))
    row = config["backbone"][i]
    what = draw(st.sampled_from(["argument"] * 3 + ["more", "fewer", "from", "repeats", "name", "row"]))
    if what == "argument" and row[3]:
        row[3][draw(st.integers(0, len(row[3]) - 1))] = draw(VALUES)
    elif what in {"more", "argument"}:
        row[3].append(draw(VALUES))
    elif what == "fewer":
        row[3] = row[3][: draw(st.integers(0, len(row[3])))]
    elif what == "row":
        config["backbone"][i] = draw(VALUES)
    else:
        row[["from", "repeats", "name"].index(what)] = draw(VALUES)
    # A config with no row of ours, nor one that is read as ours, is left to Ultralytics.
    known = {*registry.blocks(), *dialects.foreign_names()}
    names = [row[2] for row in config["backbone"] if isinstance(row, list) and len(row) == 4]
    assume(any(isinstance(name, str) and (name in known or is_backbone(name)) for name in names))
    return config


@fuzz(0.3)
@given(changed_rows())
def test_a_row(config):
    try:
        with in_time():
            tasks.DetectionModel(copy.deepcopy(config), verbose=False)
    except ConnectionError as error:  # it asked for published weights
        assert_helps(error, "do it once where there is a network")
    except EXPECTED as error:
        assert_helps(error, "row ")
    assert not os.path.exists("FUZZED")


@st.composite
def calls(draw) -> tuple[str, list]:
    block = registry.blocks()[
        draw(st.sampled_from(sorted(n for n, b in registry.blocks().items() if b.like != "HGStem")))
    ]
    channels = st.one_of(st.sampled_from([1, 8, 16, 32]), NUMBERS, VALUES)
    given = [channels] * (3 if block.like == "C2f" else 2)
    more = draw(st.integers(0, max(len(block.arguments) - 1, 0)))
    return block.name, [draw(strategy) for strategy in [*given, *[VALUES] * more]]


@fuzz(0.4)
@given(calls())
def test_a_block(case):
    """Called directly, as by a user's own module."""
    name, args = case
    block = registry.blocks()[name].cls
    try:
        with in_time(), torch.device("meta"):
            block(*args)
    except EXPECTED as error:
        assert_helps(error, name)
    assert not os.path.exists("FUZZED")


PARTS = st.one_of(
    st.sampled_from(
        [*STEMS, "yolov8n", "yolo11s", "yolov5", "rtdetr-l", "starnet", "starnet_s1", "resnet18", "seg", "cls"]
    ),
    st.sampled_from([".in1k", ".", "-", "_", "..", "/", "~", "x" * 300, "\0", "é", "n", "%s", "{}", "*", "\n"]),
    st.text(max_size=8),
)


@fuzz(0.2)
@given(st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", "-"]), st.sampled_from([".yaml", ".yml"]))
def test_a_name(parts, between, suffix):
    try:
        with in_time():
            config = tasks.yaml_model_load(between.join(parts) + suffix)
    except EXPECTED as error:
        assert_helps(error)
    except AssertionError as error:  # Ultralytics' own, of a name with a question mark, as in an address
        if "acceptable suffix" not in str(error):
            raise
    else:
        assert isinstance(config, dict)


@st.composite
def texts(draw) -> str:
    """A family's YAML in which something was typed, cut or replaced."""
    config = config_of(draw(st.sampled_from(STEMS)))
    key = draw(st.sampled_from(["nc", "scales", "backbone", "head", "activation", "channels", "scale", "none", "rows"]))
    if key == "rows":
        config["head"][draw(st.integers(0, len(config["head"]) - 1))] = draw(VALUES)
    elif key != "none":
        config[key] = draw(VALUES)
    text = yaml.safe_dump(config)
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.one_of(st.just(""), st.text(max_size=10))) + text[at + draw(st.integers(0, 5)) :]


@fuzz(0.06)
@given(texts())
def test_a_whole_file(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    named = re.search("|".join(registry.blocks()), text)
    foreign = () if named else (AttributeError, LookupError, NameError, SyntaxError, TypeError)
    before = os.getcwd()
    os.chdir(folder)  # where Ultralytics evaluates `activation` of a file that is none of ours
    try:
        with in_time():
            tasks.DetectionModel(str(file), verbose=False)
    except foreign:  # a file that names no block of ours any more is Ultralytics' affair
        pass
    except EXPECTED as error:
        assert_helps(error)
    finally:
        os.chdir(before)
    assert not (named and (folder / "FUZZED").exists())


OPTIONS = st.one_of(
    st.sampled_from(["list", "info", "new", "doctor", "--json", "--max-params", "-o", "--help", "--pretrained"]),
    st.sampled_from(["9" * 400, "10M", "starnet", "yolov8n", "yolov8n-starnet", "broken.yaml", "rows.yaml", "x" * 300]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)


@fuzz(0.04)
@given(st.sampled_from(["list", "info", "new"]), st.lists(OPTIONS, max_size=4))
def test_the_command(tmp_path_factory, command, options):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    (folder / "broken.yaml").write_text("nc: [1\nhead: {")
    (folder / "rows.yaml").write_text("nc: 3\nbackbone: [1, two, 3]\nhead: [x]\n")
    before = os.getcwd()
    os.chdir(folder)
    said = io.StringIO()
    try:
        with in_time(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            cli.main([command, *options])
    except SystemExit:
        assert len(said.getvalue().splitlines()) <= 3, said.getvalue()
    finally:
        os.chdir(before)
