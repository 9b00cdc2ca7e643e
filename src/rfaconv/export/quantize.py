"""int8 after training, by the runtimes' own tools."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


def quantize_onnx(path: Path, out: Path, pictures: Sequence[Tensor]) -> None:
    """By ONNX Runtime: QDQ nodes around convolutions and products, weights per channel.

    What lies between them, the softmax and the gates among it, stays float32. Weights have 7 bits:
    on processors without VNNI a sum of two products of 8 bits does not fit its 16.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    graph = onnx.load(path)
    name = graph.graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the base carries no types
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, Any] | None:
            x = next(self.left, None)
            return None if x is None else {name: x.numpy()}

    with _quiet():
        quantize_static(
            path, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=True,
            # with "Relu" a convolution's range ends at 0, and the ReLU behind it goes
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Relu"],
            # one range serves the taps of a depthwise convolution badly, and they are few weights
            nodes_to_exclude=[n.name for n in graph.graph.node if _depthwise(n, graph)],
        )  # fmt: skip
    made = onnx.load(out)
    onnx.helper.set_model_props(made, {p.key: p.value for p in graph.metadata_props})
    onnx.save(made, out)


def _depthwise(node: Any, graph: Any) -> bool:
    return node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute)


FLOAT = (
    "GroupConvolution", "Multiply", "Add", "Subtract", "Maximum", "Exp", "Power", "Divide",
    "Sigmoid", "HSwish", "Softmax", "AvgPool", "MaxPool", "ReduceMean", "ReduceMax", "Concat",
)  # fmt: skip
"""Of OpenVINO's operations: what stays float32, as in the ONNX files."""


def quantize_openvino(model: Any, pictures: Sequence[Tensor]) -> Any:
    """By NNCF: convolutions and products, weights per channel; what lies between stays float32.

    By default it rounds the softmax and the gates too, and cuts ranges to the mean of the images'
    extremes: a network of RFAConv2d lost 11 points of accuracy.
    """
    with _quiet():
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        data = nncf.Dataset([x.numpy() for x in pictures])
        scope = nncf.IgnoredScope(types=list(FLOAT), validate=False)
        settings = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        )
        return nncf.quantize(
            model, data, subset_size=len(pictures), ignored_scope=scope,
            preset=nncf.QuantizationPreset.MIXED, advanced_parameters=settings,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tools that advise on stdout and in the log what a caller cannot act on."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        try:
            yield
        finally:
            logging.disable(level)
