"""The operators as ONNX functions: what a runtime without our library runs in place of the nodes.

A model carries the definition of every operator that it uses. ONNX Runtime takes the library's
operator where it is registered, and the definition elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rfaconv.export.custom.forms import DOMAIN

__all__ = ["add_functions"]

# features f (B, C, kh, kw, Ho, Wo); kernel (kh, kw) and out (Ho, Wo) as lists
_FEATURES = """
  channels_1 = Shape <start = 1, end = 2> (weight)
  kernel = Shape <start = 2, end = 4> (weight)
  one = Constant <value_ints = [1]> ()
  rest = Constant <value_ints = [-1]> ()
  zero = Constant <value_ints = [0]> ()
  taps = ReduceProd <keepdims = 1> (kernel)
  maps = Mul (channels_1, taps)
  feature_shape = Concat <axis = 0> (maps, one, kernel)
  feature_kernel = Reshape (feature_weight, feature_shape)
  feature_offset = Reshape (feature_bias, rest)
  linear = Conv <group: int = @channels, strides: ints = @strides, pads: ints = @pads,
                 dilations: ints = @dilations> (x, feature_kernel, feature_offset)
  flat = Relu (linear)
  out = Shape <start = 2, end = 4> (flat)
  split = Concat <axis = 0> (zero, channels_1, kernel, out)
  f = Reshape (flat, split)
"""

# y from gated, of the shape of f
_PROJECTION = """
  panel_shape = Concat <axis = 0> (zero, maps, rest)
  panel = Reshape (gated, panel_shape)
  rows = Constant <value_ints = [0, -1]> ()
  matrix = Reshape (weight, rows)
  product = MatMul (matrix, panel)
  upright = Constant <value_ints = [-1, 1]> ()
  offset = Reshape (bias, upright)
  sum = Add (product, offset)
  relu_wanted = Constant <value_int: int = @relu> ()
  is_relu = Cast <to = 9> (relu_wanted)
  nothing = Constant <value_float = 0.0> ()
  lowest = Log (nothing)
  bound = Where (is_relu, nothing, lowest)
  bounded = Max (sum, bound)
  same = Constant <value_ints = [0, 0]> ()
  y_shape = Concat <axis = 0> (same, out)
  y = Reshape (bounded, y_shape)
"""

_RFA = """
  mean_shape = Concat <axis = 0> (channels_1, one, kernel)
  ones = ConstantOfShape <value = float[1] {1.0}> (mean_shape)
  total = Conv <group: int = @channels, strides: ints = @strides, pads: ints = @pads,
                dilations: ints = @dilations> (x, ones)
  count = CastLike (taps, total)
  mean = Div (total, count)
  mean_axis = Constant <value_ints = [2]> ()
  mean_5 = Unsqueeze (mean, mean_axis)
  attention_shape = Concat <axis = 0> (channels_1, taps, one, one)
  attention = Reshape (attention_weight, attention_shape)
  logits = Mul (mean_5, attention)
  softmax = Softmax <axis = 2> (logits)
  gate = Reshape (softmax, split)
  gated = Mul (f, gate)
"""

_RFCBAM = """
  channel_axis = Constant <value_ints = [1]> ()
  top = ReduceMax <keepdims = 0> (f, channel_axis)
  average = ReduceMean <keepdims = 0> (f, channel_axis)
  large = Mul (kernel, out)
  map_shape = Concat <axis = 0> (zero, one, large)
  top_side = Transpose <perm = [0, 3, 1, 4, 2]> (top)
  average_side = Transpose <perm = [0, 3, 1, 4, 2]> (average)
  top_map = Reshape (top_side, map_shape)
  average_map = Reshape (average_side, map_shape)
  both = Concat <axis = 1> (top_map, average_map)
  first_axis = Constant <value_ints = [0]> ()
  spatial = Unsqueeze (spatial_weight, first_axis)
  spatial_logits = Conv <auto_pad = "SAME_UPPER"> (both, spatial)
  pixel_map = Sigmoid (spatial_logits)
  kh = Shape <start = 2, end = 3> (weight)
  kw = Shape <start = 3, end = 4> (weight)
  oh = Shape <start = 2, end = 3> (flat)
  ow = Shape <start = 3, end = 4> (flat)
  pixel_shape = Concat <axis = 0> (zero, oh, kh, ow, kw)
  pixel_side = Reshape (pixel_map, pixel_shape)
  pixel = Transpose <perm = [0, 2, 4, 1, 3]> (pixel_side)
  pixel_6 = Unsqueeze (pixel, channel_axis)
  channel_axes = Constant <value_ints = [2, 3, 4, 5]> ()
  channel = Unsqueeze (channel_gate, channel_axes)
  half = Mul (f, channel)
  gated = Mul (half, pixel_6)
"""


def _lines(name: str, kernel_axis: int, axes: str, at: str) -> str:
    """The gate of one side: means over the other side, two pointwise layers, laid back."""
    return f"""
  {name}_axes = Constant <value_ints = [{axes}]> ()
  {name}_means = ReduceMean <keepdims = 0> (f, {name}_axes)
  {name}_side = Transpose <perm = [0, 1, 3, 2]> ({name}_means)
  {name}_shape = Concat <axis = 0> (zero, channels_1, rest)
  {name}_pooled = Reshape ({name}_side, {name}_shape)
  {name}_reduced = MatMul (hidden_weight, {name}_pooled)
  {name}_shifted = Add ({name}_reduced, hidden_offset)
  {name}_active = HardSwish ({name}_shifted)
  {name}_expanded = MatMul ({name}_weight, {name}_active)
  {name}_offset = Unsqueeze ({name}_bias, last_axis)
  {name}_logits = Add ({name}_expanded, {name}_offset)
  {name}_gate = Sigmoid ({name}_logits)
  {name}_kernel = Shape <start = {kernel_axis}, end = {kernel_axis + 1}> (weight)
  {name}_split = Concat <axis = 0> (zero, channels_1, rest, {name}_kernel)
  {name}_apart = Reshape ({name}_gate, {name}_split)
  {name}_turned = Transpose <perm = [0, 1, 3, 2]> ({name}_apart)
  {name}_at = Constant <value_ints = [{at}]> ()
  {name}_6 = Unsqueeze ({name}_turned, {name}_at)
"""


_RFCA = (
    """
  last_axis = Constant <value_ints = [1]> ()
  hidden_offset = Unsqueeze (hidden_bias, last_axis)
"""
    + _lines("row", 2, "3, 5", "3, 5")
    + _lines("column", 3, "2, 4", "2, 4")
    + """
  half = Mul (f, row_6)
  gated = Mul (half, column_6)
"""
)

_BODIES = {
    "RFAConv": ("attention_weight", _RFA),
    "RFCBAMConv": ("channel_gate, spatial_weight", _RFCBAM),
    "RFCAConv": (
        "hidden_weight, hidden_bias, row_weight, row_bias, column_weight, column_bias",
        _RFCA,
    ),
}


def add_functions(model: Any, names: Iterable[str], opset: int) -> None:
    """Adds the definitions of the operators ``names`` to an ``onnx.ModelProto``.

    Args:
        model: the model.
        names: among ``RFAConv``, ``RFCBAMConv``, ``RFCAConv``.
        opset: version of the standard operators, 18 or newer.
    """
    from onnx import parser

    for name in names:
        inputs, gates = _BODIES[name]
        text = f"""
<domain: "{DOMAIN}", opset_import: ["" : {opset}]>
{name} <strides, pads, dilations, relu, channels>
(x, weight, feature_weight, feature_bias, {inputs}, bias) => (y)
{{{_FEATURES}{gates}{_PROJECTION}}}
"""
        model.functions.append(parser.parse_function(text))
