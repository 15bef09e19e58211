"""`model.fuse()` merges blocks too.

Ultralytics folds what is built on its `Conv`; then blocks that are `Mergeable` merge, the innermost first; and only
then are the counts printed. Last, since older releases take a model with few BatchNorms for a fused one, and would
skip the head.
"""

from __future__ import annotations

from typing import Any

from ultralytics.nn import tasks

from ..layers.merge import Mergeable
from .wrapping import Function, wrap


def install() -> None:
    """Have `fuse` merge blocks."""
    wrap(tasks.BaseModel, "fuse", _with_merging)


def _with_merging(fuse: Function) -> Function:
    def fuse_and_merge(self: Any, verbose: bool = True, *args: Any, **kwargs: Any) -> Any:
        done = self.is_fused()
        fuse(self, False, *args, **kwargs)
        # Fake quantisation, of late releases, holds on to the range of each weight, which merging would change.
        if not vars(tasks).get("is_qat", lambda _: False)(self):
            for module in reversed(list(self.modules())):  # what is inside first; merging removes some
                if isinstance(module, Mergeable):
                    module.merge()
        if not done:  # the counts that Ultralytics prints are of before
            self.info(False, verbose, *args, **kwargs)
        return self

    return fuse_and_merge
