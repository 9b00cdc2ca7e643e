"""Reads a model configuration before ultralytics builds it, for errors that say what to do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics.activations import KEY, parse_activation
from rfaconv.integrations.ultralytics.names import (
    BLOCK_NAMES,
    canonical,
    is_layer,
    original_name,
    unknown_module,
)


def check_rows(config: Mapping[str, Any]) -> None:
    """Checks names of all layers and the arguments of ours.

    Args:
        config: what a model YAML holds.

    Raises:
        InvalidArgument: a name that ultralytics does not know, or arguments that an operator does
            not take; layer and row are named.
    """
    tasks = import_module("ultralytics.nn.tasks")
    if KEY in config:
        parse_activation(config[KEY])
    for index, row in enumerate([*config.get("backbone", ()), *config.get("head", ())]):
        where = f"layer {index} of the model YAML"
        if not isinstance(row, list | tuple) or len(row) != 4 or not isinstance(row[3], list):
            raise InvalidArgument(where, "[from, repeats, module, [arguments]]", repr(row))
        name = row[2]
        if not isinstance(name, str):
            raise InvalidArgument(where, "the name of a module", repr(name))
        if name.startswith(("nn.", "torchvision.ops.")) or hasattr(tasks, name):
            continue
        ours = canonical(name)
        if ours is None:
            known = [n for n, value in vars(tasks).items() if _is_layer(value)]
            raise unknown_module(where, name, known)
        _check_arguments(where, ours, row[3], tasks)


def _is_layer(value: Any) -> bool:
    return isinstance(value, type) and value.__module__.startswith("ultralytics.nn.modules")


def _check_arguments(where: str, name: str, arguments: list[Any], tasks: Any) -> None:
    if not is_layer(name) and original_name(name) not in BLOCK_NAMES:
        return  # a head: parse_model adds what it needs
    parameters = inspect.signature(getattr(tasks, original_name(name))).parameters
    # c1 comes from the layer before; a block's third is the number of repeats
    free = [p for p in parameters if p not in ("self", "c1", "n")]
    shown = f"arguments [{', '.join(free)}]"
    if not 1 <= len(arguments) <= len(free):
        raise InvalidArgument(where, f"{name} with {shown}", repr(arguments))
    for argument, value in zip(free, arguments, strict=False):
        expected = _refusal(argument, value)
        if expected:
            raise InvalidArgument(where, f"{name} with {expected} in {shown}", repr(arguments))


def _refusal(argument: str, value: Any) -> str | None:
    """What the argument of a row has to be, if it is not."""
    numbers = list(value) if argument in "ksp" and isinstance(value, list | tuple) else [value]
    if argument in ("k", "s", "p") and len(numbers) not in (1, 2):
        return f"one number or two for {argument}"
    if argument == "c2" and value == "nc":
        return None  # the number of classes
    if argument in ("c2", "k", "s", "g", "d") and not all(_whole(v, 1) for v in numbers):
        return f"a positive whole number for {argument}"
    if argument == "p" and value not in (None, "None") and not all(_whole(v, 0) for v in numbers):
        return "None or a whole number of 0 or more for p"
    if argument == "e" and not (isinstance(value, int | float) and 0 < value <= 1):
        return "a number in (0, 1] for e"
    if argument == "act" and not isinstance(value, bool):
        try:
            parse_activation(value)
        except InvalidArgument as error:
            return f"{error.expected} for act"
    return None


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
