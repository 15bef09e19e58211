"""The registered blocks, and the contract by which Ultralytics reads a YAML row for each.

A block is registered with the contract of the Ultralytics layer whose row it shares:

| `like`   | YAML row                         | the block is called with   | scaled by width, depth |
|----------|----------------------------------|----------------------------|------------------------|
| `Conv`   | `[from, 1, Block, [c2, *args]]`  | `(c1, c2, *args)`          | c2                     |
| `C2f`    | `[from, n, Block, [c2, *args]]`  | `(c1, c2, n, *args)`       | c2, n                  |
| `HGStem` | `[from, 1, Block, [cm, c2, *args]]` | `(c1, cm, c2, *args)`   | nothing                |
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from torch import nn

from . import environment, user_blocks
from .messages import shown

Class = TypeVar("Class", bound=type[nn.Module])

# The first arguments of a block, by contract; and those of them that the row gives, not Ultralytics.
CONTRACTS: dict[str, tuple[str, ...]] = {"Conv": ("c1", "c2"), "C2f": ("c1", "c2", "n"), "HGStem": ("c1", "cm", "c2")}
FROM_ROW = frozenset({"c2", "cm"})


@dataclass(frozen=True)
class Block:
    """A registered block.

    Attributes:
        cls: the module class.
        like: the Ultralytics layer whose row contract it shares, a key of `CONTRACTS`.
    """

    cls: type[nn.Module]
    like: str

    @property
    def name(self) -> str:
        """The name a YAML row uses."""
        return self.cls.__name__

    @property
    def shipped(self) -> bool:
        """True if it comes with the package."""
        return self.cls.__module__.startswith(f"{__package__}.")

    @property
    def row(self) -> str:
        """The arguments a YAML row takes, for example `[c2, n_div=4]`."""
        names = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in self._row_parameters]
        return f"[{', '.join(names)}]"

    @property
    def arguments(self) -> list[str]:
        """The names of the arguments a YAML row takes, in order."""
        return [parameter.name for parameter in self._row_parameters]

    @property
    def _row_parameters(self) -> list[inspect.Parameter]:
        given = CONTRACTS[self.like]
        parameters = list(inspect.signature(self.cls).parameters.values())
        return [p for name, p in zip(given, parameters) if name in FROM_ROW] + parameters[len(given) :]

    def build(self, *args: Any) -> nn.Module:
        """Build the block from what Ultralytics made of a YAML row.

        Raises:
            TypeError: the row gives too few or too many arguments.
        """
        given = CONTRACTS[self.like]
        self.check_row([arg for name, arg in zip(given, args) if name in FROM_ROW] + list(args[len(given) :]))
        return self.cls(*args)

    def check_row(self, row: Any) -> None:
        """Check the number of arguments in a YAML row.

        Raises:
            TypeError: too few or too many, or no list.
        """
        if not isinstance(row, list):
            raise TypeError(f"{self.name}: the YAML row gives {shown(row)} where a list belongs: {self.row}")
        given = CONTRACTS[self.like]
        missing = [own for name, own in zip(given, inspect.signature(self.cls).parameters) if name in FROM_ROW]
        missing = missing[len(row) :]
        try:
            if missing:
                raise TypeError(f"missing {', '.join(missing)}")
            inspect.signature(self.cls).bind(*given, *row[len(FROM_ROW.intersection(given)) :])
        except TypeError as error:
            raise TypeError(
                f"{self.name}: the YAML row gives {shown(row)}, but it takes {self.row} ({error})"
            ) from None


@dataclass
class _Registry:
    blocks: dict[str, Block] = field(default_factory=dict)
    listeners: list[Callable[[Block], None]] = field(default_factory=list)


_registry = _Registry()


def blocks() -> Mapping[str, Block]:
    """Return the registered blocks by name."""
    return _registry.blocks


def subscribe(listener: Callable[[Block], None]) -> None:
    """Call `listener` for every block registered so far, and for each that comes later."""
    if listener not in _registry.listeners:
        _registry.listeners.append(listener)
    for block in list(_registry.blocks.values()):
        listener(block)


@overload
def register(cls: Class, *, like: str) -> Class: ...
@overload
def register(cls: None = None, *, like: str) -> Callable[[Class], Class]: ...
def register(cls: Class | None = None, *, like: str) -> Class | Callable[[Class], Class]:
    """Make a block known to Ultralytics' model YAMLs, in this process and in those started from it.

    Use it as a decorator, `@register(like="C2f")`, or call it, `register(MyStage, like="C2f")`. Keep the class in an
    importable module, not in the script that is run: checkpoints store a class by its import path.

    Args:
        cls: the block.
        like: which Ultralytics layer's row it shares: "Conv", "C2f" or "HGStem", see `CONTRACTS`.

    Raises:
        TypeError: `cls` is no nn.Module class.
        ValueError: an unknown contract, one that does not fit the class's signature, or a name that is taken.
    """
    if cls is None:
        return lambda decorated: register(decorated, like=like)
    block = _checked(cls, like)
    if not block.shipped and not environment.disabled():
        importlib.import_module("ultralytics.nn.tasks")  # activates the plugin, so that a taken name is found out here
    for listener in _registry.listeners:
        listener(block)
    _registry.blocks[block.name] = block
    if not block.shipped:
        user_blocks.pass_on(cls)
    return cls


def _checked(cls: Any, like: Any) -> Block:
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TypeError(f"register({cls!r}): a block is a class derived from torch.nn.Module; pass the class itself")
    call = f"register({cls.__name__}, like={like!r})"
    if not isinstance(like, str) or like not in CONTRACTS:
        rows = ", ".join(f"{name!r} for ({', '.join(given)}, ...)" for name, given in CONTRACTS.items())
        raise ValueError(f"{call}: no such contract; choose {rows}")
    given = CONTRACTS[like]
    parameters = list(inspect.signature(cls).parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    catches_all = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    # Repeats passed as a kernel size, or not at all, would still build a model, but a wrong one.
    misplaced = positional[len(given) - 1 : len(given)] != ["n"] if "n" in given else "n" in positional[:3]
    if (len(positional) < len(given) or misplaced) and not (catches_all and len(positional) < len(given)):
        raise ValueError(
            f"{call}: Ultralytics will call {cls.__name__}({', '.join(given)}, ...), but its __init__ takes "
            f"({', '.join(positional)}); change the signature, or the contract: "
            "'C2f' for a block that takes its repeats as n, 'Conv' for one that does not"
        )
    known = _registry.blocks.get(cls.__name__)
    if known is not None and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"{call}: the name is taken by {known.cls.__module__}.{known.cls.__qualname__}; rename the class"
        )
    return Block(cls, like)
