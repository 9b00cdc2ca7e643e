"""Builds a model whose rows name operators.

ultralytics' ``parse_model`` scales channels and repeats for the modules that it knows by name, and
picks forms of the head by the blocks that it saw. So it builds the model from the originals, Conv
for RFAConv and C2f for C2f_RFA, and the operators are put in afterwards. A key
``operator_activation`` of the YAML is the activation behind every operator without one of its own.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics.activations import KEY, parse_activation
from rfaconv.integrations.ultralytics.checking import check_rows
from rfaconv.integrations.ultralytics.names import canonical, is_layer, original_name

_ACT = 6  # [c2, k, s, p, g, d, act]


def parser(original: Callable[..., Any]) -> Callable[..., Any]:
    """``parse_model`` with the operators known."""

    @functools.wraps(original)
    def parse_model(d: Any, ch: int, verbose: bool = True) -> Any:
        check_rows(d)
        # parse_model writes into the arguments
        plain = copy.deepcopy(dict(d))
        wanted = take_operators(plain)
        if not wanted:
            return original(d, ch, verbose)
        try:
            network, save = original(plain, ch, False)
        except (ValueError, TypeError, RuntimeError) as error:
            _explain(error, original, d, wanted)
            raise
        put_operators(network, wanted)
        if verbose:
            _print(network, d)
        return network, save

    return parse_model


Wanted = dict[int, tuple[str, nn.Module | None]]
"""The rows that name an operator: their module, and the activation of their own."""


def take_operators(config: Any) -> Wanted:
    """Changes the rows of a configuration to those of the originals, in place."""
    tasks = import_module("ultralytics.nn.tasks")
    tail = parse_activation(config[KEY]) if KEY in config else None
    wanted: Wanted = {}
    for index, row in enumerate([*config["backbone"], *config["head"]]):
        name = None if hasattr(tasks, row[2]) else canonical(row[2])
        if name is None:
            continue
        wanted[index] = (name, tail)
        row[2] = original_name(name)
        if is_layer(name):
            if len(row[3]) > _ACT and row[3][_ACT] is not True:
                wanted[index] = (name, parse_activation(row[3][_ACT]))
            row[3] = row[3][:_ACT] if len(row[3]) > 1 else [*row[3], 3]
    return wanted


def put_operators(network: Any, wanted: Wanted) -> None:
    """Puts the operators into the rows of a network of originals, in place.

    Raises:
        InvalidArgument: a row has nothing to replace, or its operator cannot have its arguments.
    """
    operators = import_module("rfaconv.integrations.ultralytics.operators")
    for index, (name, act) in wanted.items():
        row = network[index]
        try:
            # a row of several repeats is an nn.Sequential
            for module in row if type(row) is nn.Sequential else [row]:
                if operators.become(module, operators.MODULES[name], act) == 0:
                    raise InvalidArgument("arguments", "a convolution to replace", "none")
        except InvalidArgument as error:
            where = f"layer {index} of the model YAML"
            expected = f"{name} with {error.expected} for {error.argument}"
            raise InvalidArgument(where, expected, error.got) from error
        refresh(row, f"{operators.HOME}.{name}")


def _explain(error: Exception, parse: Any, config: Any, wanted: Wanted) -> None:
    """Names the row at which ``parse_model`` failed, if it is one of ours."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is getattr(parse, "__code__", None):
            index = trace.tb_frame.f_locals.get("i")
            if index in wanted:
                row = [*config["backbone"], *config["head"]][index]
                where = f"layer {index} of the model YAML"
                expected = f"arguments that {wanted[index][0]} can have"
                raise InvalidArgument(where, expected, f"{row[3]}: {error}") from error
        trace = trace.tb_next


def refresh(row: Any, kind: str) -> None:
    """Writes down what ultralytics keeps about a row of a model."""
    row.type = kind
    row.np = sum(parameter.numel() for parameter in row.parameters())


def _print(network: Any, config: Mapping[str, Any]) -> None:
    log = import_module("ultralytics.utils").LOGGER
    if config.get("activation"):
        log.info(f"activation: {config['activation']}")
    log.info(f"\n{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<45}{'arguments':<30}")
    for row, module in zip([*config["backbone"], *config["head"]], network, strict=True):
        repeats = len(module) if type(module) is nn.Sequential else 1
        kind = str(module.type).replace(
            "rfaconv.integrations.ultralytics.layers", "rfaconv.ultralytics"
        )
        log.info(
            f"{module.i:>3}{module.f!s:>20}{repeats:>3}{module.np:10.0f}  {kind:<45}{row[3]!s:<30}"
        )
