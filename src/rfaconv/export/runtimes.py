"""Runs exported files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.export import mobile_runtimes

Run = Callable[[Tensor], Tensor]


def load_exported(path: Path | str, *, threads: int | None = None, precise: bool = True) -> Run:
    """The function in an exported file, run by its own runtime on the CPU.

    Args:
        path: a file of :func:`rfaconv.export.export`; its name's ending says which runtime.
        threads: of ONNX Runtime and OpenVINO; None for their own choice. The others use torch's.
        precise: OpenVINO computes in float32 also where the processor has something faster.

    Returns:
        From a float32 tensor (B, C, H, W) to the output.

    Raises:
        InvalidArgument: no such file or none of these.
    """
    return loader(path)(Path(path), threads, precise)


def loader(path: Path | str) -> Callable[[Path, int | None, bool], Run]:
    """What loads a file, by its name's ending; raises InvalidArgument where nothing does."""
    path = Path(path)
    if not path.exists():
        raise InvalidArgument("path", "an exported file", f"no file {path}")
    for suffix, load in _LOADERS.items():
        if path.name.endswith(suffix):
            return load
    raise InvalidArgument("path", f"a name that ends in {' '.join(_LOADERS)}", path.name)


def _onnx(path: Path, threads: int | None, precise: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _openvino(path: Path, threads: int | None, precise: bool) -> Run:
    import openvino

    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"} if precise else {}
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = threads
    request: Any = openvino.Core().compile_model(path, "CPU", hints).create_infer_request()

    def run(x: Tensor) -> Tensor:
        result = request.infer([x.numpy()])[0]
        return torch.from_numpy(result.copy())  # the request's memory is used again

    return run


def _aoti(path: Path, threads: int | None, precise: bool) -> Run:
    from torch._inductor import aoti_load_package

    return _without_grad(aoti_load_package(str(path)))


def _torch_export(path: Path, threads: int | None, precise: bool) -> Run:
    return _without_grad(torch.export.load(path).module())


def _torchscript(path: Path, threads: int | None, precise: bool) -> Run:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return _without_grad(torch.jit.load(path))


def _without_grad(function: Any) -> Run:
    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = function(x)
        return result

    return run


_LOADERS: dict[str, Callable[[Path, int | None, bool], Run]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".aoti.pt2": _aoti,
    ".pt2": _torch_export,
    ".torchscript": _torchscript,
    ".pte": mobile_runtimes.load_executorch,
    ".tflite": mobile_runtimes.load_litert,
    ".ncnn.param": mobile_runtimes.load_ncnn,
    ".mlpackage": mobile_runtimes.load_coreml,
}
SUFFIXES = tuple(_LOADERS)
"""Endings of exported files."""
