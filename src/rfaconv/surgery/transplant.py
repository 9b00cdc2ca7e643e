"""Puts a new layer in the place of a convolution, with everything that hung on the old one."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from rfaconv.surgery.layers import LAYERS
from rfaconv.surgery.sites import Convolution, Site

_PLAIN = frozenset(vars(nn.Conv2d(1, 1, 1)))
_STORES = ("_parameters", "_buffers", "_modules")
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def build(convolution: Convolution, operator: str, *, bias: bool) -> Any:
    """Builds the layer ``operator`` with geometry, dtype, device and flags of a convolution."""
    weight = convolution.weight
    layer: Any = LAYERS[operator][weight.dim() - 2](
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
        bias,
        convolution.padding_mode,
        device=weight.device,
        dtype=weight.dtype,
    )
    order = _CHANNELS_LAST.get(weight.dim())
    if order and not weight.is_contiguous() and weight.is_contiguous(memory_format=order):
        layer.weight = nn.Parameter(layer.weight.detach().contiguous(memory_format=order))
    return layer


def adopt(layer: Any, convolution: Convolution) -> None:
    """Hands mode, gradient flags, hooks and foreign attributes of a convolution over to ``layer``.

    The branches of the attention are trainable if the convolution's weight is.
    """
    layer.train(convolution.training)
    for parameter in layer.parameters():
        parameter.requires_grad_(convolution.weight.requires_grad)
    if layer.bias is not None and convolution.bias is not None:
        layer.bias.requires_grad_(convolution.bias.requires_grad)
    for key, value in vars(convolution).items():
        if key in _STORES:
            for name, entry in value.items():
                getattr(layer, key).setdefault(name, entry)
        elif "_hooks" in key and isinstance(value, dict):
            # the same mapping goes on living: the handles of the hooks point at it
            value.update(getattr(layer, key))
            _rebind(value, layer)
            setattr(layer, key, value)
        elif key not in _PLAIN and key not in vars(layer):
            setattr(layer, key, value)
    layer._is_full_backward_hook = convolution._is_full_backward_hook
    layer._non_persistent_buffers_set |= convolution._non_persistent_buffers_set


def _rebind(hooks: dict[int, Any], layer: nn.Module) -> None:
    for hook in hooks.values():
        if getattr(hook, "with_module", False):
            hook.module = weakref.ref(layer)


def put(site: Site, layer: nn.Module) -> None:
    """Replaces the convolution at every place that refers to it."""
    for parent, attribute in site.places:
        parent._modules[attribute] = layer
