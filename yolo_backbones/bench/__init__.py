"""Compares models: latency, memory, parameters, and accuracy where there is a checkpoint.

Every model is timed in a process of its own, so that one that crashes takes no other along; and every backend, since
the idle threads of one disturb another. `measure` does all of it, and `yolo-backbones bench` is the same as a command.
"""

from .results import Row
from .session import measure
from .settings import BACKENDS, Settings, cores

__all__ = ["BACKENDS", "Row", "Settings", "cores", "measure"]
