"""Recipes: everything that decides the numbers of a training, as small YAML files.

May import: errors.
"""

from rfaconv.lab.recipes.classify import Classify
from rfaconv.lab.recipes.detect import Detect
from rfaconv.lab.recipes.files import (
    apply_overrides,
    parsed_recipe,
    read_recipe,
    recipe_names,
    recipe_text,
)
from rfaconv.lab.recipes.parts import LightningRecipe, Recipe
from rfaconv.lab.recipes.schema import SCHEMAS
from rfaconv.lab.recipes.segment import Segment
from rfaconv.lab.recipes.yolo import Yolo

__all__ = [
    "SCHEMAS",
    "Classify",
    "Detect",
    "LightningRecipe",
    "Recipe",
    "Segment",
    "Yolo",
    "apply_overrides",
    "parsed_recipe",
    "read_recipe",
    "recipe_names",
    "recipe_text",
]
