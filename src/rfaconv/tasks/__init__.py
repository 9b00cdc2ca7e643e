"""Recipes of detectors and segmenters carried out, with the folders and saves of all trainings.

May import: predict, detection, segmentation, training, recipes and everything below them. Needs the
extra ``train``, and ``detect`` or ``segment``.
"""

from rfaconv.tasks.evaluating import evaluate_task
from rfaconv.tasks.running import train_task

__all__ = ["evaluate_task", "train_task"]
