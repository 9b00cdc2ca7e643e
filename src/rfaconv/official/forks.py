"""State dicts of detectors built with the published layers or a fork's, for this library's layers.

In the published detectors a layer is the operator with its convolution, BatchNorm and ReLU in one
``nn.Sequential`` called ``conv``; forks put ultralytics' Conv there, so that its SiLU and fuse()
apply. Here a row is ultralytics' Conv with the operator in it. What a layer is, its keys tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import CONVOLUTIONS

ACTIVATION_KEY = "operator_activation"
"""The key of a model YAML that names the activation behind every operator."""

_GATES = (
    "generate_feature.", "generate.", "get_weight.", "get_weights.", "mlp.", "spatital.", "conv_h.",
)  # fmt: skip
_TAILS = (
    # convolution, norm, activation behind the norm; the most particular first
    ("conv.conv.", "conv.bn.", "own"),
    ("conv.0.", "conv.1.", "relu"),
)


def adapt(
    network: nn.Module, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Renames the keys of published and forked layers to the keys of ``network``.

    Args:
        network: with rows that are a Conv of ultralytics around an operator.
        state: of a network with published or forked layers in those places.

    Returns:
        The new state, and for every layer that was renamed what follows its convolution: ``relu``,
        ``own`` (the network's activation) or ``none``.

    Raises:
        InvalidArgument: a layer has no convolution that is known.
    """
    result = dict(state)
    tails: dict[str, str] = {}
    for prefix, module in network.named_modules():
        if not _is_row(module):
            continue
        keys = [key for key in state if key.startswith(f"{prefix}.")]
        parts = {key[len(prefix) + 1 :]: state[key] for key in keys}
        if not any(part.startswith(_GATES) for part in parts):
            continue
        for key in keys:
            del result[key]
        renamed, tails[prefix] = _layer(prefix, parts, module)
        result.update({f"{prefix}.{key}": value for key, value in renamed.items()})
    return result, tails


def follow(network: nn.Module, tails: Mapping[str, str]) -> None:
    """Gives the layers the activation that their published form has.

    ultralytics builds a network anew from its configuration when a training starts, so that says
    it too.
    """
    for prefix, tail in tails.items():
        if tail != "own":
            layer: Any = network.get_submodule(prefix)
            layer.act = nn.ReLU(inplace=True) if tail == "relu" else nn.Identity()
    config = getattr(network, "yaml", None)
    kinds = set(tails.values()) - {"own"}
    if isinstance(config, dict) and len(kinds) == 1:
        config[ACTIVATION_KEY] = "nn.ReLU()" if kinds == {"relu"} else "nn.Identity()"


def inner_network(model: nn.Module) -> nn.Module:
    """The network in an ``ultralytics.YOLO``; any other model itself."""
    if any(kind.__module__ == "ultralytics.engine.model" for kind in type(model).__mro__):
        inner = model.model
        assert isinstance(inner, nn.Module)
        return inner
    return model


def _is_row(module: nn.Module) -> bool:
    parts = (getattr(module, name, None) for name in ("conv", "bn", "act"))
    conv, norm, act = parts
    return type(conv) in CONVOLUTIONS.values() and norm is not None and act is not None


def _layer(prefix: str, parts: Mapping[str, Tensor], module: Any) -> tuple[dict[str, Tensor], str]:
    found = next((t for t in _TAILS if f"{t[0]}weight" in parts), None)
    if found is None:
        shown = ", ".join(list(parts)[:5])
        expected = f"conv.0.weight or conv.conv.weight in layer {prefix}"
        raise InvalidArgument("state", expected, shown)
    convolution, norm, tail = found
    renamed: dict[str, Tensor] = {}
    for key, value in parts.items():
        if key.startswith(convolution):
            renamed[f"conv.conv.0.{key[len(convolution) :]}"] = value
        elif key.startswith(norm):
            renamed[f"bn.{key[len(norm) :]}"] = value
        else:
            renamed[f"conv.{key}"] = value
    weight = parts[f"{convolution}weight"]
    # our convolution has a bias always
    renamed.setdefault("conv.conv.0.bias", torch.zeros_like(weight[:, 0, 0, 0]))
    if "bn.weight" not in renamed:
        # a norm that does nothing: a fused layer of a fork, or a published one that has none
        renamed.update({f"bn.{key}": value for key, value in _identity(module.bn).items()})
        tail = "own" if tail == "own" else "none"
    return renamed, tail


def _identity(norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    state = {key: value.clone() for key, value in norm.state_dict().items()}
    state["weight"].fill_(1)
    state["bias"].zero_()
    state["running_mean"].zero_()
    state["running_var"].fill_(1 - norm.eps)
    return state
