"""Recipes of detectors and segmenters: YAML files with ``task: detection`` or ``segmentation``."""

from rfaconv.recipes.tasks.files import is_task_recipe, read_task_recipe, task_recipe_names
from rfaconv.recipes.tasks.schema import TaskRecipe

__all__ = ["TaskRecipe", "is_task_recipe", "read_task_recipe", "task_recipe_names"]
