"""What a recipe may say; an unknown key or a value of the wrong kind is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfaconv.errors import unknown_name
from rfaconv.lab.recipes.classify import Classify
from rfaconv.lab.recipes.detect import Detect
from rfaconv.lab.recipes.parts import Recipe
from rfaconv.lab.recipes.segment import Segment
from rfaconv.lab.recipes.yolo import Yolo

SCHEMAS: dict[str, type[Recipe]] = {
    "classify": Classify, "detect": Detect, "segment": Segment, "yolo": Yolo,
}  # fmt: skip
"""The keys of every task; ``task`` of a recipe says which."""

_EARLIER = {"detection": "detect", "segmentation": "segment"}


def with_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a ``task`` that is known; recipes without one are of classifiers.

    Raises:
        InvalidArgument: there is no such task.
    """
    task = values.get("task", "classify")
    task = _EARLIER.get(task, task) if isinstance(task, str) else repr(task)
    if task not in SCHEMAS:
        raise unknown_name("task", task, SCHEMAS)
    known = {**values, "task": task}
    model = values.get("model")
    if isinstance(model, dict) and "published_init" in model:  # runs of old have it; it did nothing
        known["model"] = {k: v for k, v in model.items() if k != "published_init"}
    return known
