"""The kinds of backbones: a family scaled by the detector's letter, a published network of one, timm's."""

# First, as in `families`: Ultralytics' layers import Ultralytics' models, and these the plugin.
import ultralytics.nn.tasks  # noqa: F401

from .find import find, is_backbone, is_of_this_package
from .protocol import Backbone

__all__ = ["Backbone", "find", "is_backbone", "is_of_this_package"]
