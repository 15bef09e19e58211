"""The one place that tells the kinds of backbones apart."""

from __future__ import annotations

import functools

from .. import catalogue
from . import family, own, timm
from .protocol import Backbone


@functools.cache
def find(name: str) -> Backbone:
    """Find the backbone of that name, which is without a tag.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    found = family.find(name) or own.find(name) or timm.find(name)
    if found is None:
        raise ValueError(catalogue.unknown(name))
    return found


def is_backbone(name: str) -> bool:
    """Tell whether there is a backbone of that name, which is without a tag."""
    try:
        find(name)
    except ValueError:
        return False
    return True


def is_of_this_package(name: str) -> bool:
    """Tell whether a family or a network of ours has that name, which is without a tag; reads no table of others."""
    return (family.find(name) or own.find(name)) is not None
