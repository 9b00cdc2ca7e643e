"""Recipes of detectors and segmenters by name or path, with overrides."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import yaml

from rfaconv.errors import unknown_name
from rfaconv.recipes.files import checked, overridden, parsed, recipe_names
from rfaconv.recipes.tasks.schema import TaskRecipe

_FOLDER = "rfaconv.recipes.tasks"


def task_recipe_names() -> tuple[str, ...]:
    """Names of the recipes of detectors and segmenters that come with the package.

    Example:
        >>> "bccd-fcos" in task_recipe_names()
        True
    """
    names = (entry.name for entry in resources.files(_FOLDER).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def is_task_recipe(name: str) -> bool:
    """Whether a name or a YAML file is a recipe with the key ``task``."""
    if not name.endswith((".yaml", ".yml")):
        return name in task_recipe_names()
    try:
        values = yaml.safe_load(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(values, dict) and "task" in values


def read_task_recipe(name: str, overrides: Sequence[str] = ()) -> TaskRecipe:
    """The recipe of that name or file, changed by ``key=value`` overrides, checked.

    Args:
        name: one of :func:`task_recipe_names`, or a path that ends in ``.yaml``.
        overrides: such as ``epochs=3`` or ``model.operator=rfa``; values as in YAML.

    Raises:
        InvalidArgument: no such recipe, an unknown key (the nearest is named) or a bad value.

    Example:
        >>> read_task_recipe("bccd-fcos", ["model.operator=rfca"]).model.operator
        'rfca'
    """
    if name.endswith((".yaml", ".yml")):
        text = None
    elif name in task_recipe_names():
        text = (resources.files(_FOLDER) / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        names = [*recipe_names(), *task_recipe_names(), "FILE.yaml"]
        raise unknown_name("recipe", name, names)
    return checked(overridden(parsed(name, text), overrides), TaskRecipe)
