"""Opens ONNX files with our operators in OpenVINO, which then calls our kernels from Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.export.custom.forms import DOMAIN
from rfaconv.functional import rfa_conv, rfca_conv, rfcbam_conv
from rfaconv.functional.coordinate import CoordinateWeights, coordinate_gates
from rfaconv.geometry import to_tuple

__all__ = ["compile_openvino"]

_ATTRIBUTES = ("strides", "pads", "dilations")


def compile_openvino(path: str | os.PathLike[str], *, threads: int | None = None) -> Any:
    """Opens a file written by ``export_onnx_custom`` in OpenVINO, its operators run by our kernels.

    The kernels are called through Python and torch, and compute with torch's threads; everything
    else is OpenVINO's. It computes in float32.

    Args:
        path: the ONNX file.
        threads: of OpenVINO; None for its own choice.

    Returns:
        An ``openvino.CompiledModel`` on the CPU.

    Raises:
        InvalidArgument: if there is no such file or ``threads`` is not positive.
    """
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    if not Path(path).is_file():
        raise InvalidArgument("path", "a file of export_onnx_custom", f"no file {path}")
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = to_tuple("threads", threads, 1, 1)[0]
    node = _node()
    core = openvino.Core()
    for name, compute in _COMPUTE.items():

        def convert(context: Any, compute: Any = compute) -> Any:
            inputs = [context.get_input(i) for i in range(context.get_input_size())]
            values = {key: list(context.get_attribute(key)) for key in _ATTRIBUTES}
            relu = bool(context.get_attribute("relu"))
            return node(inputs, compute, relu, values).outputs()

        core.add_extension(ConversionExtension(name, DOMAIN, convert))
    return core.compile_model(core.read_model(path), "CPU", hints)


def _node() -> Any:
    """The class of OpenVINO's operation: its base is there only with OpenVINO."""
    import openvino

    class ReceptiveField(openvino.Op):  # type: ignore[misc]  # OpenVINO has no types
        """One operator: inputs as of the node in the ONNX file."""

        def __init__(
            self, inputs: Any = None, compute: Any = None, relu: bool = False, values: Any = None
        ) -> None:
            super().__init__(self)
            self.compute, self.relu, self.values = compute, relu, values
            self.constants: list[Tensor] | None = None
            if inputs is not None:
                self.set_arguments(inputs)
                self.constructor_validate_and_infer_types()

        def validate_and_infer_types(self) -> None:
            """(B, O, *out), as of a convolution."""
            x, weight = self.get_input_partial_shape(0), self.get_input_partial_shape(1)
            strides, pads, dilations = (self.values[key] for key in _ATTRIBUTES)
            out = [openvino.Dimension(), openvino.Dimension()]
            for i in range(2):
                if x[2 + i].is_static:
                    reach = dilations[i] * (weight[2 + i].get_length() - 1) + 1
                    size = x[2 + i].get_length() + pads[i] + pads[2 + i] - reach
                    out[i] = openvino.Dimension(size // strides[i] + 1)
            result = openvino.PartialShape([x[0], weight[0], *out])
            self.set_output_type(0, self.get_input_element_type(0), result)

        def clone_with_new_inputs(self, inputs: Any) -> Any:
            """The same with other inputs."""
            return ReceptiveField(inputs, self.compute, self.relu, self.values)

        def has_evaluate(self) -> bool:
            """It computes itself."""
            return True

        def evaluate(self, outputs: Any, inputs: Any) -> bool:
            """Calls the kernels."""
            try:
                y = self.result([torch.from_numpy(value.data) for value in inputs])
            except Exception as error:
                # OpenVINO passes over exceptions, and goes on with memory that nobody wrote
                warnings.warn(f"{type(error).__name__}: {error}", stacklevel=1)
                return False
            outputs[0].shape = list(y.shape)
            outputs[0].data[...] = y.numpy()
            return True

        def result(self, tensors: list[Tensor]) -> Tensor:
            """The output of the node's inputs."""
            x = tensors[0]
            top, left, bottom, right = self.values["pads"]
            if (top, left) != (bottom, right):
                x, top, left = torch.nn.functional.pad(x, (left, right, top, bottom)), 0, 0
            with torch.no_grad():
                y: Tensor = self.compute(
                    [x, *tensors[1:]], stride=self.values["strides"], padding=(top, left),
                    dilation=self.values["dilations"],
                )  # fmt: skip
                return y.relu_() if self.relu else y

    return ReceptiveField


def _rfa(tensors: Sequence[Tensor], **window: Any) -> Tensor:
    x, weight, feature_weight, feature_bias, attention, bias = tensors
    return rfa_conv(
        x, weight, bias, attention_weight=attention, feature_weight=feature_weight,
        feature_bias=feature_bias, **window,
    )  # fmt: skip


def _rfcbam(tensors: Sequence[Tensor], **window: Any) -> Tensor:
    x, weight, feature_weight, feature_bias, channel, spatial, bias = tensors
    return rfcbam_conv(
        x, weight, bias, channel_gate=channel, spatial_weight=spatial[None],
        feature_weight=feature_weight, feature_bias=feature_bias, **window,
    )  # fmt: skip


def _rfca(tensors: Sequence[Tensor], **window: Any) -> Tensor:
    x, weight, feature_weight, feature_bias, hidden, hidden_bias = tensors[:6]
    row, row_bias, column, column_bias, bias = tensors[6:]
    weights = CoordinateWeights(hidden, hidden_bias, (row, column), (row_bias, column_bias))
    return rfca_conv(
        x, weight, bias, gates=lambda means: coordinate_gates(means, weights, lambda h: h),
        feature_weight=feature_weight, feature_bias=feature_bias, **window,
    )  # fmt: skip


_COMPUTE = {"RFAConv": _rfa, "RFCBAMConv": _rfcbam, "RFCAConv": _rfca}
