"""Signatures of blocks: whether a class's `__init__` fits a contract, by its parameters' names, defaults and types.

`__init__(self, channel, reduction=16)` can be called with `(c1, c2)`, and then builds a block with a reduction of 256.
So the number of parameters says nothing.
"""

from __future__ import annotations

import inspect
import re

from torch import nn

from .contracts import CONTRACTS, Contract

# As people call the channels of a layer's output, and of its input or its only channels; in lower case.
_OUTPUT = re.compile(r"c2|c_?o|[cn]_?out|out|out_?\w+|\w+_out|oup\w*|o_?chs?|ouc")
_INPUT = re.compile(
    r"c|c_?1|c_?i|[cn]_?in|in_?c|inc|(?:in|input|num|n|gate|embed|emb|model)?_?(?:chs?|chan|chans|channels?|channel_num|dims?|"
    r"planes?|features?|feats?|feat|filters|maps)|(?:chs?|channels?|dim)_in|inp|inputs?|d_model|nf|nc|width"
)
# Settings as people call them, some of which have no default everywhere.
_SETTING = re.compile(
    r"r|reduction\w*|\w*ratio|rate|factor|groups?|g|k|k_?size|kernel\w*|ks|s|stride|p|pad\w*|d|dilation|n|num_heads|heads|"
    r"bias|act\w*|eps\w*|e_lambda|e|gamma|b|drop\w*|scale\w*|size|mode"
)
_LIST = re.compile(r"list|sequence|tuple|iterable", re.IGNORECASE)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Contracts that nearly any signature could be meant for.
_NEVER_ADVISED = {"HGStem", "Slice", "Network"}


def parameters(cls: type[nn.Module]) -> list[inspect.Parameter]:
    """Return the parameters of a block that a row can fill, since it gives arguments by position.

    Raises:
        ValueError: Python cannot tell them.
    """
    return [p for p in inspect.signature(cls).parameters.values() if p.kind in (*_POSITIONAL, p.VAR_POSITIONAL)]


def misfit(cls: type[nn.Module], like: str) -> str:
    """Say why a block cannot be called as its contract says, and what to do; return an empty string if it can."""
    contract = CONTRACTS[like]
    try:
        reason = _misfit(cls, contract)
    except (TypeError, ValueError):  # inspect's, where a class has no signature that Python can read
        return f"Python cannot tell which arguments {cls.__name__} takes; give it an __init__ that names them"
    if not reason:
        return ""
    own = ", ".join(str(p) if p.kind is p.VAR_POSITIONAL else p.name for p in parameters(cls))
    return (
        f"Ultralytics will call {cls.__name__}{_form(contract)}, but its __init__ takes ({own}); {reason}; "
        f"change the signature{_advice(cls, contract)}"
    )


def _advice(cls: type[nn.Module], contract: Contract) -> str:
    """Name the contracts that do fit, or the signature that is asked for."""
    first = next(iter(parameters(cls)), None)
    several = contract.several or (first is not None and _is_list(first))
    fitting = [
        f"{name!r} for {other.fits}"
        for name, other in CONTRACTS.items()
        if other.several == several and name not in _NEVER_ADVISED and not _misfit(cls, other)
    ]
    return f", or the contract: {', '.join(fitting)}" if fitting else f" to {_form(contract)}"


def _form(contract: Contract) -> str:
    return f"({', '.join([*contract.given, '...'])})"


def _misfit(cls: type[nn.Module], contract: Contract) -> str:
    """Say which parameter does not fit; return an empty string if all do."""
    every = list(inspect.signature(cls).parameters.values())
    needed = [p.name for p in every if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needed:
        return f"it takes {needed[0]} by keyword only, while a row gives arguments by position"
    named = [p for p in every if p.kind in _POSITIONAL]
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in every)
    given = contract.given
    if len(named) < len(given) and not open_ended:
        return f"it takes no {given[len(named)]}"
    for role, parameter in zip(given, named):
        reason = _wrong(role, parameter, contract)
        if reason:
            return f"{parameter.name} {reason}"
    return _wrong_rest(contract, named)


def _wrong(role: str, parameter: inspect.Parameter, contract: Contract) -> str:
    """Say why a parameter cannot be what the contract puts there: `c1`, `channels`, `c2` or `n`."""
    name = _plain(parameter)
    settles = _SETTING.fullmatch(name) or (parameter.default is not parameter.empty and not _is_channels(name))
    if role == "n":
        return "" if name == "n" else "is no n"
    if role in {"c1", "channels"} and (settles or _OUTPUT.fullmatch(name)):
        return "is not the number of the input's channels"
    if role == "c2" and settles:
        return "is not the number of the output's channels"
    if role == "channels" and _type(parameter) == "int":
        return "is one number, where a list belongs, of the channels of each input"
    if role == "c1" and _is_list(parameter) and "cm" not in contract.given:
        return "is a list, where the channels of the one input belong"
    return ""


def _wrong_rest(contract: Contract, named: list[inspect.Parameter]) -> str:
    """Say which parameter behind the given ones would take what the row means otherwise."""
    given, rest = contract.given, named[len(contract.given) :]
    if "n" not in given and "cm" not in given and rest and rest[0].name == "n":
        return "n, the repeats, would get an argument of the row"
    if given and "c2" not in given and "start" not in given and not contract.whole:
        outputs = [p for p in rest if _is_output(p, first=p is rest[0])]
        if outputs:
            return f"{outputs[0].name} is the number of the output's channels, which would get an argument of the row"
    if not given and rest and _is_channels(_plain(rest[0])) and not (rest[0].name == "dim" and _has_default(rest[0])):
        return f"{rest[0].name} is a number of channels, which would get an argument of the row"
    return ""


def _is_output(parameter: inspect.Parameter, first: bool) -> bool:
    """Tell whether a parameter behind the input's channels is the output's, and would be filled or missed."""
    name = _plain(parameter)
    if _OUTPUT.fullmatch(name):
        return first or not _has_default(parameter)
    return bool(_INPUT.fullmatch(name)) and not _has_default(parameter)


def _is_channels(name: str) -> bool:
    return bool(_INPUT.fullmatch(name) or _OUTPUT.fullmatch(name))


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty


def _plain(parameter: inspect.Parameter) -> str:
    return parameter.name.strip("_").lower()


def _is_list(parameter: inspect.Parameter) -> bool:
    return bool(_LIST.search(_type(parameter)))


def _type(parameter: inspect.Parameter) -> str:
    """Return a parameter's annotation as it is written, or an empty string."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
