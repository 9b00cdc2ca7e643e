"""What a comparison is: recipes, operators and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.contenders import resolved
from rfaconv.lab.looking import look
from rfaconv.lab.networks.classifiers import COMPARABLE
from rfaconv.lab.progress import Cell
from rfaconv.lab.recipes import Recipe, apply_overrides, parsed_recipe, recipe_names
from rfaconv.lab.recipes.files import explained, parsed
from rfaconv.lab.recipes.parts import Part
from rfaconv.lab.store import plain

DEFAULT = "eurosat-sample"
"""What is compared on where nothing is named: real colour images that come with the package."""


class Study(Part):
    """Recipes × operators × seeds. Equal studies on one machine give equal numbers.

    Attributes:
        about: what it is, for people.
        recipes: names of recipes, files, folders of images, or mappings with a ``base`` of these
            and what differs from it.
        task: of folders: ``yolo`` trains a YOLO on what else would get a detector or a segmenter;
            otherwise what the recipes have to be.
        operators: names; ``features``, ``wide`` and ``long`` are baselines.
        seeds: of the trainings.
        set: overrides of all recipes, ``key=value``.
        keep: ``all`` keeps the run of every training with its weights, ``first`` those of the
            first seed.
    """

    about: str = ""
    recipes: tuple[str | dict[str, Any], ...] = (DEFAULT,)
    task: str | None = None
    operators: tuple[str, ...] = COMPARABLE
    seeds: tuple[int, ...] = (0, 1, 2)
    set: tuple[str, ...] = ()
    keep: Literal["first", "all"] = "first"


class Grid:
    """A study with its recipes read.

    Args:
        study: what was asked for.

    Raises:
        InvalidArgument: an unknown name, or a recipe that does not fit.
    """

    def __init__(self, study: Study) -> None:
        if not study.recipes:
            raise InvalidArgument("recipes", "one or more", "none")
        self.operators = resolved(study.operators)
        if not study.seeds or len(set(study.seeds)) < len(study.seeds):
            raise InvalidArgument("seeds", "each seed once", ",".join(map(str, study.seeds)))
        if any(not 0 <= seed < 2**32 for seed in study.seeds):
            raise InvalidArgument("seeds", "numbers from 0 to 2**32 - 1", repr(study.seeds))
        self.seeds = study.seeds
        self.keep = study.keep
        self.said: list[str] = []
        self.recipes: dict[str, Recipe] = {}
        for source in study.recipes:
            name, values = self._values(source, study.task)
            recipe = apply_overrides(values, study.set)
            if study.task not in (None, recipe.task):
                raise InvalidArgument("task", f"that of {name}, {recipe.task}", repr(study.task))
            threads = recipe.threads or 1  # processes, not threads, fill the cores
            # files are called by these names, on some systems whatever the case
            taken, number = {plain(n).casefold() for n in self.recipes}, len(self.recipes)
            named = name
            while plain(named).casefold() in taken:
                named, number = f"{name}-{number}", number + 1
            self.recipes[named] = recipe.model_copy(update={"seed": 0, "threads": threads})

    @property
    def baseline(self) -> str:
        """What the others are compared with: the standard convolution if it takes part."""
        return "conv" if "conv" in self.operators else self.operators[0]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All trainings, seed by seed, so that an early stop leaves whole seeds."""
        return tuple(
            Cell(recipe, operator, seed)
            for seed in self.seeds
            for recipe in self.recipes
            for operator in self.operators
        )

    def _values(self, source: str | Mapping[str, Any], task: str | None) -> tuple[str, Any]:
        if isinstance(source, Mapping):
            changes = dict(source)
            name, values = self._values(str(changes.pop("base", "digits")), task)
            return str(changes.pop("name", name)), _merged(values, changes)
        name, values, said = source_values(source, task)
        self.said += [said] if said else []
        return name, values


def source_values(source: str, task: str | None = None) -> tuple[str, Mapping[str, Any], str]:
    """What a user names as something to train on: a recipe, a file, or a folder of images.

    Args:
        source: its name or path.
        task: of a folder: ``yolo`` for a YOLO of ultralytics on what it holds.

    Returns:
        A name for results, the values of a recipe, and a sentence about a folder.

    Raises:
        InvalidArgument: it is none of these.
    """
    path = Path(source).expanduser()
    if source in recipe_names():
        return source, parsed_recipe(source), ""
    if source.endswith((".yaml", ".yml")):
        return path.stem, parsed(source), ""
    if not path.is_dir():
        raise unknown_name("recipe", source, [*recipe_names(), "FILE.yaml", "a folder of images"])
    seen = look(path.resolve())
    if task != "yolo":
        return path.resolve().name, seen.recipe, seen.said
    yolo = dict(parsed_recipe("yolo"))
    yolo["data"] = {**yolo["data"], "root": str(path.resolve())}
    if seen.task == "segment":
        yolo["model"] = {**yolo["model"], "name": "yolov8n-seg"}
        yolo["data"]["classes"] = seen.recipe["data"]["classes"][1:]  # without the background
    return path.resolve().name, yolo, seen.said


def read_study(path: Path) -> Study | None:
    """The study of a YAML file with the key ``recipes``; None where it is a recipe.

    Raises:
        InvalidArgument: the file cannot be read, or has a key that is not one.
    """
    values = parsed(str(path))
    if "recipes" not in values:
        return None
    seeds = values.get("seeds")
    if isinstance(seeds, int):
        values = {**values, "seeds": tuple(range(seeds))}
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise explained(error, Study) from error


def default_out(sources: Sequence[str]) -> Path:
    """The results folder when none is given.

    Example:
        >>> default_out(["/tmp/My flowers/"]).name
        'rfaconv-compare-My-flowers'
    """
    path = Path(sources[0]).expanduser().resolve() if sources else Path(DEFAULT)
    name = path.stem if path.suffix in (".yaml", ".yml") else path.name
    return Path("rfaconv-compare-" + plain(name or "folder"))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with the keys of ``changes`` on all levels."""
    result = dict(values)
    for key, value in changes.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result
