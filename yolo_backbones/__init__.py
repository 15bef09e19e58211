"""Other backbones for Ultralytics YOLO.

Nothing here needs to be imported: installing the package is enough for `yolo` and `YOLO("yolov8n-starnet.yaml")` to
know its models. Importing it does the same for a Python that runs without its site-packages' start-up files (`-S`).
"""

# This file runs at the start of every Python process of the environment, and most of them never import Ultralytics. So
# it imports only what Python has loaded by then. The rest is in `_autoload.py`: one more file or an import of `typing`
# would double the time that this takes.
import sys

TYPE_CHECKING = False  # type checkers know the name
if TYPE_CHECKING:
    from typing import Any

    from yolo_backbones.composition import compose
    from yolo_backbones.registry import register

__version__ = "0.1.0"
__all__ = ["__version__", "compose", "register"]


class UltralyticsFinder:
    """Import hook that has the plugin activated whenever `ultralytics.nn.tasks` has run.

    It stays on `sys.meta_path`, where it takes two comparisons for each new import: if the module runs again (a reload,
    a retry after a failed import), some of the plugin's changes are undone, and it is activated again.
    """

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Find `ultralytics.nn.tasks`, and the plugin itself, which may be what imports Ultralytics."""
        if name != "ultralytics.nn.tasks" and name != "yolo_backbones.seam":
            return None
        from yolo_backbones import _autoload

        return _autoload.find_spec(self, name, path, target)


def install() -> None:
    """Have the plugin activated after `ultralytics.nn.tasks` has run: at once, if it already has. Idempotent."""
    # By name: a second copy of this file has a class of its own.
    if not any(type(finder).__name__ == "UltralyticsFinder" for finder in sys.meta_path):
        sys.meta_path.insert(0, UltralyticsFinder())
    if "ultralytics.nn.tasks" in sys.modules:
        from yolo_backbones import _autoload

        _autoload.activate()


def __getattr__(name: str) -> object:
    if name == "register":  # on demand, since the registry imports torch
        from yolo_backbones.registry import register

        return register
    if name == "compose":
        import ultralytics.nn.tasks  # noqa: F401  # activates the plugin, which knows the blocks

        from yolo_backbones.composition import compose

        return compose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
