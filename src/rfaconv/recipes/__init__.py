"""Recipes: everything that decides the numbers of a training, as small YAML files.

May import: data and errors.
"""

from rfaconv.recipes.classify import Classify
from rfaconv.recipes.detect import Detect
from rfaconv.recipes.files import (
    apply_overrides,
    parsed_recipe,
    read_recipe,
    recipe_names,
    recipe_text,
)
from rfaconv.recipes.parts import LightningRecipe, Recipe
from rfaconv.recipes.schema import SCHEMAS
from rfaconv.recipes.segment import Segment
from rfaconv.recipes.yolo import Yolo

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
