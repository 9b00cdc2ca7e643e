"""Stand-ins for the operators that become one ONNX node each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional.squeeze import squeeze_excite
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.nn._receptive_field import ReceptiveFieldConv

__all__ = ["DOMAIN", "VERSION", "custom_forms"]

DOMAIN = "rfaconv"
VERSION = 1
_KERNELS = ((1, 1), (3, 3), (5, 5))


class _Form(nn.Module):
    """One layer, folded: its input and constants go into one node of the domain."""

    name: str
    weight: Tensor
    bias: Tensor
    feature_weight: Tensor
    feature_bias: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        channels, taps = layer.in_channels, layer.inner_window.taps
        self.register_buffer("weight", layer.weight.detach().clone())
        # the definition of the node for other runtimes cannot leave an input out
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
        self.register_buffer("bias", bias.clone())
        self.register_buffer(
            "feature_weight", layer.feature_weight.detach().reshape(channels, taps, taps)
        )
        self.register_buffer("feature_bias", layer.feature_bias.detach().reshape(channels, taps))

    def gate_inputs(self, x: Tensor) -> Sequence[Tensor]:
        """Returns the inputs of the node between ``feature_bias`` and ``bias``."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, Ho, Wo) for an input (B, C, H, W); only inside an ONNX export."""
        layer = self.layer
        x = layer.prepare(input)
        window = layer.inner_window
        (top, bottom), (left, right) = window.padding
        features = (self.feature_weight, self.feature_bias)
        inputs = [x, self.weight, *features, *self.gate_inputs(input), self.bias]
        y: Tensor = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{self.name}",
            inputs,
            {
                "strides": list(window.stride),
                "pads": [top, left, bottom, right],
                "dilations": list(window.dilation),
                "relu": 0,
                "channels": layer.in_channels,
            },
            dtype=x.dtype,
            shape=(x.shape[0], layer.out_channels, *window.output_size(x.shape[2:])),
            version=VERSION,
        )
        return y


class _RFAForm(_Form):
    name = "RFAConv"
    attention_weight: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        weight = layer.attention_weight.detach().reshape(layer.in_channels, -1)
        self.register_buffer("attention_weight", weight.clone())

    def gate_inputs(self, x: Tensor) -> Sequence[Tensor]:
        return (self.attention_weight,)


class _RFCBAMForm(_Form):
    name = "RFCBAMConv"
    reduce: Tensor
    expand: Tensor
    spatial_weight: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.register_buffer("reduce", layer.se.fc1.weight.detach().clone())
        self.register_buffer("expand", layer.se.fc2.weight.detach().clone())
        self.register_buffer("spatial_weight", layer.spatial_weight.detach()[0].clone())

    def gate_inputs(self, x: Tensor) -> Sequence[Tensor]:
        return squeeze_excite(x, self.reduce, self.expand), self.spatial_weight


class _RFCAForm(_Form):
    name = "RFCAConv"
    hidden_weight: Tensor
    hidden_bias: Tensor
    row_weight: Tensor
    row_bias: Tensor
    column_weight: Tensor
    column_bias: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        gate = layer.attention
        hidden = nn.utils.fuse_conv_bn_eval(gate.conv1, gate.bn1)
        for prefix, conv in (("hidden", hidden), ("row", gate.conv_h), ("column", gate.conv_w)):
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            self.register_buffer(f"{prefix}_weight", conv.weight.detach().flatten(1).clone())
            self.register_buffer(f"{prefix}_bias", conv.bias.detach().clone())

    def gate_inputs(self, x: Tensor) -> Sequence[Tensor]:
        return (
            self.hidden_weight, self.hidden_bias, self.row_weight, self.row_bias,
            self.column_weight, self.column_bias,
        )  # fmt: skip


_FORMS: dict[type[nn.Module], type[_Form]] = {
    RFAConv2d: _RFAForm,
    RFCBAMConv2d: _RFCBAMForm,
    RFCAConv2d: _RFCAForm,
}


def custom_forms(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Copies a network with a stand-in for every operator that the library has.

    Args:
        module: any network, or an operator, in evaluation mode.

    Returns:
        The copy, and the names of the layers that became nodes.

    Raises:
        InvalidArgument: for a receptive-field layer that the kernels do not cover: it has groups,
            a kernel other than 1x1, 3x3 or 5x5, another dtype than float32, or BatchNorm without
            running statistics.

    Example:
        >>> _, names = custom_forms(nn.Sequential(RFAConv2d(4, 8, 3), nn.ReLU()).eval())
        >>> names
        ('0',)
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgument("module", "a torch.nn.Module", f"a {type(module).__name__}")
    if module.training:
        raise InvalidArgument("module", "a module in evaluation mode", "one in training mode")
    for name, layer in module.named_modules():
        if isinstance(layer, tuple(_FORMS)):
            _check(name, layer)
    result, names = _replace(copy.deepcopy(module), "")
    return result, tuple(names)


def _replace(module: nn.Module, name: str) -> tuple[nn.Module, list[str]]:
    for kind, form in _FORMS.items():
        if isinstance(module, kind):
            assert isinstance(module, ReceptiveFieldConv)
            return form(module.fuse()).eval(), [name]
    names = []
    for child_name, child in list(module.named_children()):
        path = f"{name}.{child_name}" if name else child_name
        replaced, found = _replace(child, path)
        names += found
        if replaced is not child:
            setattr(module, child_name, replaced)
    return module, names


def _check(name: str, layer: Any) -> None:
    where = name or type(layer).__name__
    if layer.groups != 1:
        raise InvalidArgument(f"groups of {where}", "1 for the custom operator", layer.groups)
    if tuple(layer.kernel_size) not in _KERNELS:
        raise InvalidArgument(
            f"kernel_size of {where}", "1, 3 or 5 for the custom operator", layer.kernel_size
        )
    if layer.weight.dtype != torch.float32:
        raise InvalidArgument(
            f"dtype of {where}", "float32 for the custom operator", str(layer.weight.dtype)
        )
