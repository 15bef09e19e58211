"""Comparison of models: latency, memory, parameters, and accuracy where there is a checkpoint.

Every model is timed in a process of its own, so that a crash ends no other model; and every backend too, since the idle
threads of one slow another. `measure` does all of it; `yolo-backbones bench` is the same as a command.
"""

from .results import Row
from .session import measure
from .settings import BACKENDS, Settings, cores

__all__ = ["BACKENDS", "Row", "Settings", "cores", "measure"]
