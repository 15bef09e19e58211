"""Layers that families share, and the merging and folding of a network for inference."""

# First, as in `families`: Ultralytics' layers import Ultralytics' models, and these the plugin.
import ultralytics.nn.tasks  # noqa: F401
