"""The registered blocks.

A block is registered with a contract, by which its YAML row is read (`contracts.py`):

| `like`     | YAML row                                 | called with                | channels out; what is scaled |
|------------|------------------------------------------|----------------------------|------------------------------|
| `Conv`     | `[from, n, Block, [c2, *args]]`          | `(c1, c2, *args)`          | c2; c2                       |
| `C2f`      | `[from, n, Block, [c2, *args]]`          | `(c1, c2, n, *args)`       | c2; c2 and n                 |
| `HGStem`   | `[from, 1, Block, [cm, c2, *args]]`      | `(c1, cm, c2, *args)`      | c2; nothing                  |
| `CBAM`     | `[from, n, Block, [*args]]`              | `(c1, *args)`              | c1                           |
| `Upsample` | `[from, n, Block, [*args]]`              | `(*args)`                  | c1                           |
| `Add`      | `[[from, from], 1, Block, [*args]]`      | `(channels, *args)`        | the first input's            |
| `Concat`   | `[[from, from], 1, Block, [*args]]`      | `(channels, *args)`        | the sum of the inputs'       |
| `Fuse`     | `[[from, from], 1, Block, [c2, *args]]`  | `(channels, c2, *args)`    | c2; c2                       |
| `Slice`    | `[from, 1, Block, [start, stop, *args]]` | `(c1, start, stop, *args)` | stop - start; nothing        |
| `Network`  | `[-1, 1, Block, [*args]]`, counts as five | `(c1, *args)`             | its maps'; nothing           |

`channels` is a list, a number for each input, and `forward` gets the list of their maps, as Ultralytics' `Concat` does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import torch
from torch import nn

from . import environment, signatures, user_blocks
from .contracts import CONTRACTS, Contract
from .messages import shown

Class = TypeVar("Class", bound=type[nn.Module])


@dataclass(frozen=True)
class Block:
    """A registered block.

    Attributes:
        cls: the module class.
        like: the contract by which its row is read, a key of `CONTRACTS`.
    """

    cls: type[nn.Module]
    like: str

    @property
    def name(self) -> str:
        """The name a YAML row uses."""
        return self.cls.__name__

    @property
    def contract(self) -> Contract:
        """The contract by which its row is read."""
        return CONTRACTS[self.like]

    @property
    def shipped(self) -> bool:
        """True if it comes with the package."""
        return self.cls.__module__.startswith(f"{__package__}.")

    @property
    def row(self) -> str:
        """The arguments a YAML row takes, for example `[c2, n_div=4]`."""
        names = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in self.row_parameters]
        return f"[{', '.join(names)}]"

    @property
    def arguments(self) -> list[str]:
        """The names of the arguments a YAML row takes, in order."""
        return [parameter.name for parameter in self.row_parameters]

    @property
    def row_parameters(self) -> list[inspect.Parameter]:
        """The parameters that a YAML row fills, in order."""
        given, parameters = self.contract.given, signatures.parameters(self.cls)
        return [p for name, p in zip(given, parameters) if name in self.contract.row] + parameters[len(given) :]

    def build(self, *args: Any) -> nn.Module:
        """Build the block from what Ultralytics made of a YAML row.

        Raises:
            TypeError: the row gives too few or too many arguments.
        """
        given, row = self.contract.given, self.contract.row
        self.check_row([arg for name, arg in zip(given, args) if name in row] + list(args[len(given) :]))
        return self.cls(*args)

    def check_row(self, row: Any) -> None:
        """Check the number of arguments in a YAML row.

        Raises:
            TypeError: too few or too many, or no list.
        """
        if not isinstance(row, list):
            raise TypeError(f"{self.name}: the YAML row gives {shown(row)} where a list belongs: {self.row}")
        given, first = self.contract.given, self.contract.row
        missing = [own.name for name, own in zip(given, signatures.parameters(self.cls)) if name in first][len(row) :]
        try:
            if missing:
                raise TypeError(f"missing {', '.join(missing)}")
            inspect.signature(self.cls).bind(*given, *row[len(first) :])
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
        like: how its row is read: "Conv", "C2f", "HGStem", "CBAM", "Upsample", "Add", "Concat", "Fuse" or
            "Network", see above.

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
    if isinstance(cls, functools.partial):
        raise TypeError(f"register({shown(cls)}): a block is a class; derive one whose __init__ fills in the arguments")
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TypeError(f"register({cls!r}): a block is a class derived from torch.nn.Module; pass the class itself")
    call = f"register({cls.__name__}, like={like!r})"
    if not isinstance(like, str) or like not in CONTRACTS:
        rows = ", ".join(f"{name!r} for ({', '.join([*of.given, '...'])})" for name, of in CONTRACTS.items())
        raise ValueError(f"{call}: no such contract; choose {rows}")
    if issubclass(cls, torch.jit.ScriptModule):
        raise ValueError(f"{call}: checkpoints cannot hold TorchScript modules; derive it from torch.nn.Module")
    if cls.__hash__ is None:
        raise ValueError(f"{call}: it has no hash, which torch.nn.Module needs; write @dataclass(eq=False)")
    reason = signatures.misfit(cls, like)
    if reason:
        raise ValueError(f"{call}: {reason}")
    known = _registry.blocks.get(cls.__name__)
    if known is not None and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"{call}: the name is taken by {known.cls.__module__}.{known.cls.__qualname__}; rename the class"
        )
    return Block(cls, like)
