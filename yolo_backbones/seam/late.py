"""Packages of others that a step is about: they are imported before the step is taken, or later, or never."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .. import import_hooks


def when_imported(name: str, teach: Callable[[], None]) -> None:
    """Call `teach` if the module called `name` has been imported; else have all steps taken again once it is.

    So what fails then is told as what fails now, and does not end the user's import.
    """
    if name in sys.modules:
        teach()
    else:
        import_hooks.when_imported(name, _take_again)


def _take_again() -> None:
    from . import activate  # it imports the steps

    activate()
