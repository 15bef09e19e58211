"""The metrics of a task, as Ultralytics names them."""

from __future__ import annotations

from collections.abc import Iterable

_CLASSES = {
    "detect": "DetMetrics",
    "obb": "OBBMetrics",
    "segment": "SegmentMetrics",
    "pose": "PoseMetrics",
    "classify": "ClassifyMetrics",
    "semantic": "SemanticMetrics",
    "depth": "DepthMetrics",
}
_AP = "mAP50-95"


def shown(task: str, recorded: Iterable[str] = ()) -> list[str]:
    """Return the keys of the metrics that a table shows, the primary one first.

    The primary one is AP50-95 of what the task adds to boxes: of masks, of keypoints; for a task without AP, the first
    that Ultralytics lists, as top-1.

    Args:
        task: Ultralytics' name of the task.
        recorded: keys that a run has, for a task that the installed Ultralytics does not know.
    """
    from ultralytics.utils import metrics

    kind = getattr(metrics, _CLASSES.get(task, ""), None)
    keys = list(kind().keys) if kind else list(recorded)
    return [key for key in reversed(keys) if _AP in key] or keys[:1]


def label(key: str) -> str:
    """Return a key as a reader knows it: `metrics/mAP50-95(B)` is `mAP50-95(B)`."""
    return key.rpartition("/")[2].removeprefix("accuracy_")
