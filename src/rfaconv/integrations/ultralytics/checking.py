"""Reads a model configuration before ultralytics builds it, for errors that say what to do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rfaconv.errors import InvalidArgument, unknown_name


def check_rows(config: Mapping[str, Any], channels: int) -> None:
    """Checks names of all layers and the arguments of ours.

    Args:
        config: what a model YAML holds.
        channels: of the images.

    Raises:
        InvalidArgument: a name that ultralytics does not know, or arguments that an operator does
            not take; layer and row are named.
    """
    layers = import_module("rfaconv.integrations.ultralytics.layers")
    tasks = import_module("ultralytics.nn.tasks")
    for index, row in enumerate([*config.get("backbone", ()), *config.get("head", ())]):
        where = f"layer {index} of the model YAML"
        if not isinstance(row, list | tuple) or len(row) != 4 or not isinstance(row[3], list):
            raise InvalidArgument(where, "[from, repeats, module, [arguments]]", repr(row))
        name = row[2]
        if not isinstance(name, str):
            raise InvalidArgument(where, "the name of a module", repr(name))
        if name.startswith(("nn.", "torchvision.ops.")):
            continue
        if not hasattr(tasks, name):
            raise _unknown(where, name, layers.MODULES)
        if name in layers.MODULES:
            _check_arguments(where, name, layers.MODULES[name], row[3], name in layers.BLOCKS)


def _unknown(where: str, name: str, known: Mapping[str, Any]) -> InvalidArgument:
    error = unknown_name(where, name, [*known, "Conv", "C2f", "C3", "C3k2", "SPPF", "Concat"])
    hint = error.expected[error.expected.find(" (did you mean") :]
    hint = hint if hint.startswith(" (did") else ""
    operators = ", ".join(n for n in known if n.endswith("Conv"))
    expected = f"a module of ultralytics or one of {operators} and their blocks{hint}"
    return InvalidArgument(where, expected, repr(name))


def _check_arguments(
    where: str, name: str, kind: type[Any], arguments: list[Any], block: bool
) -> None:
    parameters = inspect.signature(_original(kind) if block else kind).parameters
    # c1 comes from the layer before; a block's third is the number of repeats
    free = [p for p in parameters if p != "c1" and not (block and p == "n")]
    shown = f"arguments [{', '.join(free)}]"
    if not 1 <= len(arguments) <= len(free):
        raise InvalidArgument(where, f"{name} with {shown}", repr(arguments))
    for argument, value in zip(free, arguments, strict=False):
        numbers = value if argument == "k" and isinstance(value, list | tuple) else [value]
        if argument in ("c2", "k", "s", "g", "d") and not all(_positive(v) for v in numbers):
            expected = f"{name} with a positive whole number for {argument} in {shown}"
            raise InvalidArgument(where, expected, repr(arguments))
        if argument == "e" and not (isinstance(value, int | float) and 0 < value <= 1):
            expected = f"{name} with a number in (0, 1] for e in {shown}"
            raise InvalidArgument(where, expected, repr(arguments))


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _original(kind: type[Any]) -> type[Any]:
    return next(t for t in kind.__mro__ if t.__module__.startswith("ultralytics."))
