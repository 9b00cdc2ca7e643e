"""Builds what is timed: one callable per side, all on equal footing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rfaconv.bench.cases import BenchCase
from rfaconv.bench.published import PUBLISHED, put_published_
from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d

__all__ = ["LAYERS", "build", "runtime"]

LAYERS: dict[str, Any] = {"rfa": RFAConv2d, "rfcbam": RFCBAMConv2d, "rfca": RFCAConv2d}


def build(case: BenchCase, side: str, operator: str, training: bool) -> nn.Module:
    """The module of a side; in inference every BatchNorm that can be folded is, on every side.

    Args:
        case: Layer or network.
        side: ``conv``, ``published``, ``reference`` or ``fused``.
        operator: ``rfa``, ``rfcbam`` or ``rfca``.
        training: Training mode, else evaluation.
    """
    if operator not in LAYERS:
        raise unknown_name("operator", operator, LAYERS)
    torch.manual_seed(0)
    if case.network:
        return _network(case, side, operator).train(training)
    c, o, k, s = case.in_channels, case.out_channels, case.kernel, case.stride
    layer: nn.Module
    if side == "conv":
        layer = nn.Conv2d(c, o, k, s, k // 2, bias=False)
    elif side == "published":
        layer = PUBLISHED[operator](c, o, k, s)
    else:
        backend = "reference" if side == "reference" else "auto"
        layer = LAYERS[operator](c, o, k, s, bias=False, backend=backend)
    block = nn.Sequential(layer, nn.BatchNorm2d(o), nn.ReLU()).train(training)
    return block if training else _fold(block)


def _fold(block: nn.Sequential) -> nn.Sequential:
    layer, norm, activation = block
    fold: Any = fuse_conv_bn_eval
    if isinstance(layer, nn.Conv2d):  # ours too: true convolutions in every respect
        fused: Any = fold(layer, norm)
        return nn.Sequential(fused.fuse() if hasattr(fused, "fuse") else fused, activation)
    plain: Any = copy.deepcopy(layer)
    plain.conv = fold(plain.conv, norm)
    for name, part in plain.named_children():
        if isinstance(part, nn.Sequential) and isinstance(part[1], nn.BatchNorm2d):
            setattr(plain, name, nn.Sequential(fold(part[0], part[1]), *part[2:]))
    return nn.Sequential(plain, activation)


def _network(case: BenchCase, side: str, operator: str) -> nn.Module:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    ours = side in ("reference", "fused")
    name = f"{operator}_{case.network}" if ours else case.network
    net: Any = timm.create_model(name, num_classes=case.out_channels)
    if side == "published":
        put_published_(net, operator)
    kinds = tuple(LAYERS.values())
    for layer in (module for module in net.modules() if isinstance(module, kinds)):
        cast(Any, layer).backend = "reference" if side == "reference" else "auto"
    result: nn.Module = net
    return result


def runtime(side: str, module: nn.Module, x: Tensor, threads: int) -> Callable[[], object]:
    """A call of ONNX Runtime or OpenVINO on the module's graph, float32, the same threads.

    Raises:
        InvalidArgument: the side is neither.
    """
    import io

    import onnx

    buffer = io.BytesIO()
    program = torch.onnx.export(module.eval(), (x,), dynamo=True, verbose=False)
    assert program is not None
    program.save(cast(Any, buffer))
    graph = buffer.getvalue()
    assert onnx.load_from_string(graph) is not None
    array = x.numpy()
    if side == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: array})
    if side == "openvino":
        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        model = core.read_model(graph)
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        return lambda: request.infer([array])
    raise InvalidArgument("side", "onnxruntime or openvino", repr(side))
