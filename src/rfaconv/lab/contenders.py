"""What takes part in a comparison: operators, and baselines that answer whether they pay.

``features``   the receptive-field features without a gate
``wide-rfa``   the plain network, widened to the latency of the one with ``rfa``
``long-rfa``   the plain network, trained for as long as the one with ``rfa`` takes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.networks.classifiers import COMPARABLE, PLAIN, TRAINABLE
from rfaconv.lab.recipes import Recipe

MATCHED = ("wide", "long")


def resolved(names: Sequence[str]) -> tuple[str, ...]:
    """The names in full: ``wide`` and ``long`` are of the first operator that is named.

    Raises:
        InvalidArgument: an unknown name, none, or one twice.

    Example:
        >>> resolved(["conv", "rfca", "wide"])
        ('conv', 'rfca', 'wide-rfca')
    """
    first = next((name for name in names if name in COMPARABLE and name != PLAIN), None)
    result = []
    for name in names:
        kind, _, of = name.partition("-")
        if kind not in MATCHED:
            if name not in TRAINABLE:
                raise unknown_name("operators", name, (*TRAINABLE, *MATCHED))
            result.append(name)
            continue
        of = of or first or ""
        if of not in names or of == PLAIN:
            raise InvalidArgument("operators", f"{kind}-OPERATOR of one that takes part", name)
        result.append(f"{kind}-{of}")
    if not result or len(set(result)) < len(result):
        raise InvalidArgument("operators", "each name once", ",".join(names))
    return tuple(result)


def matched(name: str) -> tuple[str, str] | None:
    """``wide`` or ``long`` and the operator that it is matched to, or None."""
    kind, _, of = name.partition("-")
    return (kind, of) if kind in MATCHED else None


def contender(base: Recipe, name: str, seed: int, found: Mapping[str, Any]) -> Recipe:
    """The recipe of one pair.

    Args:
        base: the recipe that is compared.
        name: as of :func:`resolved`.
        seed: of the training.
        found: ``width`` or ``epochs`` of a baseline that is matched.
    """
    pair = matched(name)
    recipe = base.model_copy(update={"seed": seed})
    if pair is None:
        return recipe.with_model(operator=name)
    recipe = recipe.with_model(operator=PLAIN)
    if pair[0] == "wide":
        return recipe.with_model(width=found["width"])
    return recipe.model_copy(update={"epochs": found["epochs"]})
