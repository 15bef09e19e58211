"""The user's own blocks, which `YOLO_BACKBONES_BLOCKS` names, in every process."""

from __future__ import annotations

from .. import user_blocks


def install() -> None:
    """Import them.

    Raises:
        ImportError: some cannot be imported; the others have been.
    """
    user_blocks.import_all()
