"""Optimizers and learning rates of recipes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from rfaconv.errors import unknown_name
from rfaconv.lab.recipes import LightningRecipe

WARM_UP = 0.25
FIRST = 0.04
OWN = ("sgd", "adamw")
OF_TIMM = ("tanh", "poly", "step")


def rate_factor(recipe: LightningRecipe, step: int, steps: int) -> float:
    """What the learning rate is multiplied by after ``step`` of ``steps`` steps.

    Example:
        >>> from rfaconv.lab.recipes import read_recipe
        >>> recipe = read_recipe("imagenet-resnet18")
        >>> [round(rate_factor(recipe, step, 100), 4) for step in (29, 30, 60)]
        [1.0, 0.1, 0.01]
    """
    rate = recipe.learning_rate
    if rate.name == "one-cycle":
        return one_cycle(step, steps)
    rise = rate.warmup_epochs * steps / recipe.epochs
    if step < rise:
        return (step + 1) / (rise + 1)
    if rate.name == "steps":
        passed = sum(step * recipe.epochs >= epoch * steps for epoch in rate.milestones)
        return rate.gamma**passed
    if rate.name == "cosine":
        part = min(1.0, (step - rise) / max(1.0, steps - rise))
        return (1 + math.cos(math.pi * part)) / 2
    return 1.0


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: a cosine up in the first quarter of the steps, then one down.

    Defined for any number of steps, one included (torch's OneCycleLR fails for few).

    Args:
        step: steps done, from 0.
        steps: steps in the whole run.

    Returns:
        A number above 0 and up to 1 for every step of the run.

    Example:
        >>> [round(one_cycle(step, 8), 2) for step in range(8)]
        [0.04, 0.52, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    rise = int(WARM_UP * steps)
    if step < rise:
        return FIRST + (1 - FIRST) * (1 - math.cos(math.pi * step / rise)) / 2
    part = min(1.0, (step - rise) / max(1, steps - rise))
    return (1 + math.cos(math.pi * part)) / 2


def check_optimizer(name: str) -> None:
    """Raises InvalidArgument unless torch or timm has an optimizer of that name."""
    if name in OWN:
        return
    known = [str(one) for one in import_module("timm.optim").list_optimizers()]
    if name not in known:
        raise unknown_name("optimizer.name", name, [*OWN, *known])


def timm_schedule(optimizer: torch.optim.Optimizer, recipe: LightningRecipe) -> Any:
    """A schedule of timm, which moves at the end of every epoch; None for one of this module."""
    rate = recipe.learning_rate
    if rate.name not in OF_TIMM:
        return None
    schedule, _ = import_module("timm.scheduler").create_scheduler_v2(
        optimizer, sched=rate.name, num_epochs=recipe.epochs, decay_rate=rate.gamma,
        decay_epochs=max(1, recipe.epochs // 3), warmup_epochs=int(rate.warmup_epochs),
        warmup_lr=recipe.optimizer.lr / 100, cooldown_epochs=0,
    )  # fmt: skip
    return schedule


def recipe_optimizer(
    parameters: Iterable[nn.Parameter], recipe: LightningRecipe
) -> torch.optim.Optimizer:
    """The optimizer of a recipe.

    Raises:
        InvalidArgument: there is none of that name.
    """
    part = recipe.optimizer
    check_optimizer(part.name)
    if part.name not in OWN:
        made: torch.optim.Optimizer = import_module("timm.optim").create_optimizer_v2(
            list(parameters), opt=part.name, lr=part.lr, weight_decay=part.weight_decay,
            momentum=part.momentum,
        )  # fmt: skip
        return made
    if part.name == "adamw":
        return torch.optim.AdamW(parameters, lr=part.lr, weight_decay=part.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=part.lr,
        momentum=part.momentum,
        nesterov=part.nesterov and part.momentum > 0,
        weight_decay=part.weight_decay,
    )
