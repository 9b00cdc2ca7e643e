"""One file for each task, and the tasks by name."""

from rfaconv.errors import unknown_name
from rfaconv.lab.tasks.base import TITLES, LightningTask, Task
from rfaconv.lab.tasks.classify import ClassifyTask

__all__ = ["TITLES", "LightningTask", "Task", "task_named"]


def task_named(name: str) -> Task:
    """The task that a recipe names; those of detectors and segmenters need their extras.

    Raises:
        InvalidArgument: there is none.
    """
    if name == "detect":
        from rfaconv.lab.tasks.detect import DetectTask

        return DetectTask()
    if name == "segment":
        from rfaconv.lab.tasks.segment import SegmentTask

        return SegmentTask()
    if name == "yolo":
        from rfaconv.lab.tasks.yolo import YoloTask

        return YoloTask()
    if name != "classify":
        raise unknown_name("task", name, ("classify", "detect", "segment", "yolo"))
    return ClassifyTask()
