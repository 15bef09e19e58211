"""`model.fuse()` merges blocks too.

Ultralytics first folds the layers built on its `Conv`. Then `Mergeable` blocks merge, the innermost first. Then the
counts are printed. Blocks merge last, since older releases take a model with few BatchNorms for a fused one, and would
skip its head.
"""

from __future__ import annotations

from typing import Any

from ultralytics.nn import tasks

from ..layers.merge import Mergeable
from .wrapping import Function, wrap


def install() -> None:
    """Have `fuse` merge blocks."""
    wrap(tasks.BaseModel, "fuse", _wrap_fuse)


def _wrap_fuse(fuse: Function) -> Function:
    def fuse_and_merge(self: Any, verbose: bool = True, *args: Any, **kwargs: Any) -> Any:
        done = self.is_fused()
        fuse(self, False, *args, **kwargs)
        # Fake quantisation, in recent releases, keeps the range of each weight, which merging would change.
        if not vars(tasks).get("is_qat", lambda _: False)(self):
            for module in reversed(list(self.modules())):  # inner blocks first; a list, as merging removes some
                if isinstance(module, Mergeable):
                    module.merge()
        if not done:  # Ultralytics would print the counts from before merging
            self.info(False, verbose, *args, **kwargs)
        return self

    return fuse_and_merge
