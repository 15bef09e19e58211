"""The one place that tells the kinds of backbones apart."""

from __future__ import annotations

import functools

from .. import catalogue
from . import family, own, registered, timm
from .protocol import Backbone


def find(name: str) -> Backbone:
    """Find the backbone of that name, which is without a tag.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    # What is registered may change in a notebook, so it is looked up each time.
    found = registered.find(name) or _find_shipped(name) or registered.find_in_any_case(name)
    if found is None:
        raise ValueError(catalogue.unknown(name))
    return found


@functools.cache
def _find_shipped(name: str) -> Backbone | None:
    return family.find(name) or own.find(name) or timm.find(name)


def is_backbone(name: str) -> bool:
    """Tell whether there is a backbone of that name, which is without a tag."""
    try:
        find(name)
    except ValueError:
        return False
    return True


def is_of_this_package(name: str) -> bool:
    """Tell whether a family or a network of ours or of the user's has that name, which is without a tag.

    It reads no table of others.
    """
    return (registered.find(name) or family.find(name) or own.find(name)) is not None
