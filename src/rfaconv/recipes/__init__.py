"""Recipes: everything that decides the numbers of a training, as small YAML files.

May import: data and errors.
"""

from rfaconv.recipes.files import (
    apply_overrides,
    read_recipe,
    recipe_names,
    recipe_text,
)
from rfaconv.recipes.schema import Recipe

__all__ = ["Recipe", "apply_overrides", "read_recipe", "recipe_names", "recipe_text"]
