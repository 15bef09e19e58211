"""Other backbones for Ultralytics YOLO.

Nothing here needs to be imported: installing the package is enough for `yolo` and `YOLO("yolov8n-starnet.yaml")` to
know its models. Importing it does the same for a Python that runs without its site-packages' start-up files (`-S`).

This file runs at the start of every Python process of the environment, and most of them never see Ultralytics. So it
holds only what must be done by then, and imports only what Python has loaded by then: each further file, or `typing`,
would cost as much as all of it. What happens once Ultralytics is imported is in `_autoload.py`.
"""

import os
import sys

TYPE_CHECKING = False  # type checkers know the name, and it spares importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from yolo_backbones.registry import register

__version__ = "0.1.0"
__all__ = ["__version__", "register"]


class _UltralyticsFinder:
    """Has the plugin activated whenever `ultralytics.nn.tasks` has run.

    It stays on `sys.meta_path`, where it costs two comparisons for each new import: running the module a second time
    (a reload, a retry after a failed import) undoes part of what the plugin did, which is then done again.
    """

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        # The plugin imports Ultralytics; where it is imported first, it is the one to wait for.
        if name != "ultralytics.nn.tasks" and name != "yolo_backbones.plugin":
            return None
        from yolo_backbones import _autoload

        return _autoload.find_spec(self, name, path, target)


def install() -> None:
    """Has the plugin activated as soon as `ultralytics.nn.tasks` has run: at once, if it has already. Idempotent."""
    if disabled():
        return
    # By name: a second copy of this file has a class of its own.
    if not any(type(finder).__name__ == _UltralyticsFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _UltralyticsFinder())
    if "ultralytics.nn.tasks" in sys.modules:
        from yolo_backbones import _autoload

        _autoload.activate()


def disabled() -> bool:
    """Whether `YOLO_BACKBONES_DISABLE` switches the plugin off."""
    return os.environ.get("YOLO_BACKBONES_DISABLE", "").lower() not in {"", "0", "false"}


def __getattr__(name: str) -> object:
    if name == "register":  # on demand, since the registry imports torch
        from yolo_backbones.registry import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
