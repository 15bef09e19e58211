"""Layers that families share, and the merging and folding of a network for inference."""

# Imported first, against a circle, as in `families`.
import ultralytics.nn.tasks  # noqa: F401
