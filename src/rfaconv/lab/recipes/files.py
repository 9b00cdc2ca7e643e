"""Recipes by name or path, with overrides, and what is wrong with them in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.files import read_yaml
from rfaconv.lab.recipes.parts import Recipe
from rfaconv.lab.recipes.schema import SCHEMAS, with_task


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package.

    Example:
        >>> "eurosat" in recipe_names()
        True
    """
    folder = resources.files("rfaconv.lab.recipes")
    found = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or file, changed by ``key=value`` overrides, checked.

    Args:
        name: one of :func:`recipe_names`, or a path that ends in ``.yaml``.
        overrides: such as ``epochs=3`` or ``model.operator=rfa``; values as in YAML.

    Raises:
        InvalidArgument: no such recipe, an unknown key (the nearest is named) or a bad value.

    Example:
        >>> read_recipe("eurosat", ["model.operator=rfca", "seed=2"]).model.operator
        'rfca'
    """
    return apply_overrides(
        parsed(name) if name.endswith((".yaml", ".yml")) else parsed_recipe(name), overrides
    )


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """The recipe of ``values`` with overrides applied; see :func:`read_recipe`."""
    return checked(overridden(values, overrides))


def overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``values`` with ``key=value`` overrides applied."""
    tree = _copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise InvalidArgument("override", "key=value, such as model.operator=rfa", override)
        try:
            value = read_yaml(text)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(key, "a value as in YAML", text[:200]) from error
        _put(tree, key.split("."), value)
    return tree


def checked(values: Mapping[str, Any]) -> Recipe:
    """The recipe that the values make; InvalidArgument names the first that is wrong."""
    tree = with_task(values)
    schema = SCHEMAS[tree["task"]]
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise explained(error, schema) from error


def recipe_text(recipe: BaseModel) -> str:
    """The resolved recipe as YAML, every key written out; reads back as the same recipe."""
    values = recipe.model_dump(mode="json")
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def parsed(name: str, text: str | None = None) -> Mapping[str, Any]:
    """The values of the YAML ``text``, or of the file ``name`` where that is None."""
    if text is None:
        path = Path(name).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise InvalidArgument("recipe", "a YAML file", f"{path} ({reason})") from error
    try:
        values = read_yaml(text)
        if isinstance(values, dict):
            _copy(values)  # a mapping that holds itself has no end
    except RecursionError as error:
        raise InvalidArgument(
            "recipe", "YAML of a few levels", f"{name} (nested too deep)"
        ) from error
    except ValueError as error:
        raise InvalidArgument("recipe", "valid YAML", f"{name} ({error})") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidArgument("recipe", "a YAML mapping of keys to values", name)
    return values


def parsed_recipe(name: str) -> Mapping[str, Any]:
    """The values of a recipe that comes with the package.

    Raises:
        InvalidArgument: there is none of this name; the nearest is named.
    """
    names = recipe_names()
    if name not in names:
        raise unknown_name("recipe", name, [*names, "FILE.yaml"])
    file = resources.files("rfaconv.lab.recipes") / f"{name}.yaml"
    return parsed(name, file.read_text(encoding="utf-8"))


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): _copy(v) if isinstance(v, dict) else v for k, v in values.items()}


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for depth, part in enumerate(path[:-1]):
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidArgument(".".join(path), f"{'.'.join(path[: depth + 1])} to have keys",
                                  repr(below))  # fmt: skip
        tree = below
    tree[path[-1]] = value


def explained(error: ValidationError, schema: type[BaseModel]) -> InvalidArgument:
    """The first thing that is wrong, in the words of every other error of the library."""
    first = error.errors()[0]
    # of what may be one of several things, the one that the value is most like
    alike = [e for e in error.errors() if e["loc"][:1] == first["loc"][:1]]
    first = max(alike, key=lambda e: len(e["loc"]))
    # what is no name is pydantic's word for a kind of value, but for a key that nobody knows
    unknown = first["type"] == "extra_forbidden"
    path = [str(p) for p in first["loc"] if unknown or isinstance(p, int) or str(p).isidentifier()]
    key = ".".join(path) or "recipe"
    if unknown:
        known = _keys(path[:-1], schema)
        near = difflib.get_close_matches(path[-1], known, n=2, cutoff=0.6)
        if not near:
            near = [name for name in _all_keys(schema) if name.rpartition(".")[2] == path[-1]]
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        inside = f" in {'.'.join(path[:-1])}" if path[:-1] else ""
        return InvalidArgument(key, f"a known key{inside}: {', '.join(known)}{hint}", "another key")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = first["input"]
    got = repr(shown) if not isinstance(shown, dict) else "these keys together"
    return InvalidArgument(key, message, got)


def _keys(path: Sequence[str], schema: type[BaseModel]) -> list[str]:
    part = schema
    for name in path:
        field = part.model_fields.get(name)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        below = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not below:
            return []
        part = below[0]
    return list(part.model_fields)


def _all_keys(schema: type[BaseModel]) -> list[str]:
    return [f"{part}.{name}" for part in schema.model_fields for name in _keys([part], schema)]
