"""How wide a plain network is that takes as long as one with an operator."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_network
from rfaconv.lab.costs.measure import latencies
from rfaconv.lab.recipes import Recipe
from rfaconv.lab.tasks import task_named

LARGEST, ROUNDS, TURNS = 6.0, 7, 9


def matched_width(recipe: Recipe, operator: str, data: Any, device: torch.device) -> float:
    """Factor of the plain network's channels at which its latency is that of ``operator``.

    Found by halving the interval from the network's own width to six times that; every
    comparison times both networks in turns.

    Args:
        recipe: of the network.
        operator: whose latency is to be matched.
        data: the recipe's images.
        device: where to measure.

    Raises:
        InvalidArgument: the network cannot be widened.
    """
    task = task_named(recipe.task)
    example = move_data_to_device(task.example(recipe, data), device)
    aim = recipe_network(recipe.with_model(operator=operator), data).to(device)
    own: float = recipe.model.width

    def faster(width: float) -> bool:
        try:
            plain = recipe_network(recipe.with_model(operator="conv", width=width), data)
        except InvalidArgument as error:
            raise InvalidArgument("operators", "a network that can be widened", "wide") from error
        both = {"plain": (plain.to(device), example), "aim": (aim, example)}
        found = latencies(both, device, ROUNDS)
        return found["plain"] < found["aim"]

    low, high = own, own * LARGEST
    for _ in range(TURNS):
        middle = (low + high) / 2
        low, high = (middle, high) if faster(middle) else (low, middle)
    return round(low, 3)
