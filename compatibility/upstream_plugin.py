"""pytest plugin of upstream.py: in a family's mode, Ultralytics' table of default models names the family's."""

import os

import upstream
from ultralytics import cfg

_mode = os.environ["UPSTREAM_MODE"]
if _mode not in {"off", "on"}:
    cfg.TASK2MODEL.update({task: upstream.renamed(name, _mode) for task, name in cfg.TASK2MODEL.items()})
