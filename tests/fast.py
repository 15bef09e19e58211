"""`pytest --fast`: the tests that neither train, export, compile nor start a process, and some cases of each.

What is left out follows from the source of a test, of its fixtures and of the helpers that they call, so no test has to
be put on a list. Of a parametrised test, each value of each parameter stays in one case: four families at four scales
are four cases, not sixteen. Of more than `CASES`, that many stay, evenly spread, others in each test of a file. `-k`
comes first: `--fast -k starnet` chooses among StarNet's cases.

Where the package itself starts another Python, no test's source shows it: such a test is skipped at that moment. One
that is long for another reason is marked `slow`. The summary names each that takes longer than `LONG`.
"""

import ast
import functools
import inspect
import os
import sys
import textwrap
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
CASES = 4  # of one test
LONG = 10.0  # seconds; a worker's first test imports torch and timm
PROCESSES = {"subprocess", "multiprocessing"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only what needs no training, and some cases of each test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: --fast leaves the test out, though its source does not show why")
    if config.getoption("fast"):
        config.pluginmanager.register(NoProcesses())


class NoProcesses:
    """Skips a test that is about to start a Python."""

    def __init__(self) -> None:
        self.testing = False
        sys.addaudithook(self.notice)  # nothing takes it away again

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and self.testing:
            executable, command = arguments[:2]
            program = executable or (command if isinstance(command, str) else command[0])
            if Path(os.fsdecode(program)).name.startswith(("python", "yolo")):
                pytest.skip("starts a process, which --fast leaves out")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:  # xdist's workers are started outside of it
        self.testing = True
        yield
        self.testing = False


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("fast"):
        return
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and not is_slow(item):
            cases[item.nodeid.partition("[")[0]].append(item)
    kept = {item for same in cases.values() for item in sample(same)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("fast"):
        return
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] += report.duration
    for name, taken in sorted(seconds.items(), key=lambda pair: -pair[1]):
        if taken > LONG:
            terminalreporter.write_line(f"{name} took {taken:.1f} s: mark it slow, or make it lighter")


def is_slow(item: pytest.Function) -> bool:
    """Tell whether a test is marked, or it or a fixture of it does what takes long."""
    if item.get_closest_marker("slow"):
        return True
    fixtures = [fixture.func for used in item._fixtureinfo.name2fixturedefs.values() for fixture in used]
    return any(
        takes_long(part) for function in (item.function, *fixtures) for part in reached(inspect.unwrap(function))
    )


@functools.cache
def reached(start: Callable[..., Any]) -> frozenset[Any]:
    """Collect the functions and classes of the tests that one of them leads to, itself included."""
    found, waiting = set(), [start]
    while waiting:
        part = waiting.pop()
        module = sys.modules[part.__module__]
        if part in found or TESTS not in Path(getattr(module, "__file__", "")).parents:
            continue
        found.add(part)
        for node in ast.walk(tree(part)):
            helper = vars(module).get(node.id) if isinstance(node, ast.Name) else None
            if inspect.isfunction(helper) or inspect.isclass(helper):
                waiting.append(helper)
    return frozenset(found)


@functools.cache
def tree(part: Any) -> ast.AST:
    """Parse the source of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(part)))


@functools.cache
def takes_long(part: Any) -> bool:
    """Tell whether the source of a function or class trains, exports, compiles or starts a process."""
    return any(expensive(node) for node in ast.walk(tree(part)))


def expensive(node: ast.AST) -> bool:
    """Tell so of one node."""
    if isinstance(node, ast.Name):
        return node.id in PROCESSES
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "train":  # Ultralytics' takes settings, a module's takes one Boolean
        return bool(node.keywords)
    return node.func.attr in {"export", "step"} or ast.unparse(node.func) == "torch.compile"  # step: an optimiser's


def spelled(value: Any) -> str:
    """Return what equal values of a parameter have in common."""
    try:
        return repr(value)
    except ValueError:  # a number of thousands of digits, alone or within
        return f"{type(value).__name__} at {id(value)}"


def sample(items: list[pytest.Function]) -> Iterator[pytest.Function]:
    """Choose few cases of one test that together have each value of each parameter; at most `CASES`, evenly spread."""
    values = [
        {(name, spelled(value)) for name, value in (item.callspec.params if hasattr(item, "callspec") else {}).items()}
        for item in items
    ]
    missing = set[tuple[str, str]]().union(*values)
    chosen = set() if missing else {0}
    while missing:
        best = max(range(len(items)), key=lambda i: len(values[i] & missing))  # the first of equals
        chosen.add(best)
        missing -= values[best]
    order = sorted(chosen)
    count = min(len(order), CASES)
    start = zlib.crc32(items[0].nodeid.partition("[")[0].encode()) % len(order)  # other cases in each test of a file
    yield from (items[order[(i * len(order) + start) // count]] for i in range(count))
