"""Activations as model YAMLs write them."""

from __future__ import annotations

import ast
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.official.forks import ACTIVATION_KEY as KEY

__all__ = ["KEY", "parse_activation"]


def parse_activation(text: Any) -> nn.Module:
    """A module of ``torch.nn`` from its name or call; nothing is evaluated.

    Args:
        text: ``ReLU``, ``nn.ReLU()``, ``torch.nn.LeakyReLU(0.1)``; None or False for none; a module
            as it is.

    Raises:
        InvalidArgument: anything else.

    Example:
        >>> parse_activation("nn.LeakyReLU(0.1)")
        LeakyReLU(negative_slope=0.1)
    """
    if isinstance(text, nn.Module):
        return text
    if text is None or text is False:
        return nn.Identity()
    expected = "an activation of torch.nn such as nn.ReLU(), True, False or None"
    refused = InvalidArgument("act", expected, repr(text))
    try:
        tree = ast.parse(str(text).strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        path = ast.unparse(call.func).split(".")
        positional = [ast.literal_eval(a) for a in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise refused from error
    kind = getattr(nn.modules.activation, path[-1], None)
    if path[-1] == "Identity":
        kind = nn.Identity
    if path[:-1] not in ([], ["nn"], ["torch", "nn"]) or not isinstance(kind, type):
        raise refused
    if not issubclass(kind, nn.Module):
        raise refused
    try:
        return kind(*positional, **named)
    except TypeError as error:
        raise refused from error
