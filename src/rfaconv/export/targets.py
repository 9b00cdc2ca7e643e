"""One function per target: writes a prepared network to a file."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from rfaconv.export.mobile import write_coreml, write_executorch, write_litert, write_ncnn

OPSET = 18
"""Of ONNX: every runtime of the last years reads it, and the graphs need nothing newer."""

DATA_LIMIT = 1_900_000_000
"""Bytes of weights from which they go to a file of their own: protobuf ends at 2 GiB."""


@dataclass(frozen=True)
class Job:
    """What is to be written.

    Attributes:
        network: prepared.
        sample: an input (B, C, H, W).
        dynamic: whether batch, height and width stay free.
        metadata: strings for the file.
        opset: of ONNX.
        exporter: of ONNX: ``dynamo`` or ``legacy``.
        external_data: weights in a file beside the ONNX file; None where they are large.
        half: OpenVINO only: weights stored in float16.
        calibration: images (1, C, H, W) that the ranges of int8 are taken from; empty for none.
    """

    network: nn.Module
    sample: Tensor
    dynamic: bool
    metadata: dict[str, str]
    opset: int = OPSET
    exporter: str = "dynamo"
    external_data: bool | None = None
    half: bool = False
    calibration: Sequence[Tensor] = ()


def write_onnx(job: Job, path: Path) -> None:
    """By ``torch.onnx``, simplified by onnxscript's optimizer."""
    import onnx_ir

    with _quiet():
        model = _legacy(job) if job.exporter == "legacy" else _dynamo(job)
    model.metadata_props.update(job.metadata)
    model.producer_name, model.producer_version = "rfaconv", job.metadata["rfaconv.version"]
    size = sum(t.numel() * t.element_size() for t in job.network.state_dict().values())
    outside = size > DATA_LIMIT if job.external_data is None else job.external_data
    if not job.calibration:
        onnx_ir.save(model, path, external_data=f"{path.name}.data" if outside else None)
        return
    from rfaconv.export.quantize import quantize_onnx

    whole = path.with_name(f"float32-{path.name}")
    onnx_ir.save(model, whole)
    quantize_onnx(whole, path, job.calibration)
    whole.unlink()


def _dynamo(job: Job) -> Any:
    program = torch.onnx.export(
        job.network, (job.sample,), dynamo=True, verbose=False, opset_version=job.opset,
        input_names=["images"], output_names=["output"], dynamic_shapes=_free(job), optimize=True,
    )  # fmt: skip
    assert program is not None
    return program.model


def _legacy(job: Job) -> Any:
    import io

    import onnx_ir
    import onnxscript.optimizer

    buffer: Any = io.BytesIO()
    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        job.network, (job.sample,), buffer, dynamo=False, opset_version=job.opset,
        input_names=["images"], output_names=["output"],
        dynamic_axes={"images": axes, "output": {0: "batch"}} if job.dynamic else None,
    )  # fmt: skip
    import onnx

    proto = onnx.load_model_from_string(buffer.getvalue())
    model = onnx_ir.serde.deserialize_model(proto)
    onnxscript.optimizer.optimize(model)
    return model


def write_openvino(job: Job, path: Path) -> None:
    """By OpenVINO's PyTorch frontend, from the exported program."""
    import openvino

    with _quiet():
        model = openvino.convert_model(exported_program(job))
    model.inputs[0].get_node().set_friendly_name("images")
    if job.calibration:
        from rfaconv.export.quantize import quantize_openvino

        model = quantize_openvino(model, job.calibration)
    for key, value in job.metadata.items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, path, compress_to_fp16=job.half)


def write_torch_export(job: Job, path: Path) -> None:
    """By ``torch.export``."""
    with _quiet():
        program = exported_program(job)
        torch.export.save(program, path, extra_files={"rfaconv.json": json.dumps(job.metadata)})


def write_aoti(job: Job, path: Path) -> None:
    """By AOTInductor: a package with compiled code for this kind of processor."""
    from torch._inductor import aoti_compile_and_package

    with _quiet():
        program = exported_program(job)
        settings: dict[str, Any] = {"aot_inductor.metadata": dict(job.metadata)}
        aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def write_torchscript(job: Job, path: Path) -> None:
    """By ``torch.jit.trace``."""
    with _quiet(), torch.no_grad():
        traced: Any = torch.jit.trace(job.network, job.sample, check_trace=False)
        if not job.dynamic:
            traced = torch.jit.freeze(traced)
        torch.jit.save(traced, path, _extra_files={"rfaconv.json": json.dumps(job.metadata)})


def exported_program(job: Job) -> torch.export.ExportedProgram:
    """The network as ``torch.export`` sees it."""
    with torch.no_grad():
        return torch.export.export(job.network, (job.sample,), dynamic_shapes=_free(job))


def _free(job: Job) -> Any:
    if not job.dynamic:
        return None
    free = torch.export.Dim.DYNAMIC
    return ({0: free, 2: free, 3: free},)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters' own deprecation warnings and progress messages."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, TracerWarning):
            warnings.simplefilter("ignore", kind)
        # the legacy exporter leaves a strided slice of a constant as it is
        warnings.filterwarnings("ignore", message="Constant folding")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        suffix: of the file's name.
        write: writes a job.
        dtypes: that its runtime computes or stores.
        needs: packages to import.
        fixed: whether batch, height and width are always those of the sample.
        batches: whether a batch may have more than one image.
    """

    suffix: str
    write: Callable[[Job, Path], None]
    dtypes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    fixed: bool = False
    batches: bool = True


_ALL = ("float32", "float16", "bfloat16")
_FLOAT = ("float32",)
TARGETS = {
    "onnx": Target(".onnx", write_onnx, ("float32", "float16", "int8"), ("onnx", "onnxscript")),
    "openvino": Target(".xml", write_openvino, ("float32", "float16", "int8"), ("openvino",)),
    "torch-export": Target(".pt2", write_torch_export, _ALL),
    "aoti": Target(".aoti.pt2", write_aoti, _ALL),
    "torchscript": Target(".torchscript", write_torchscript, _ALL),
    "executorch": Target(".pte", write_executorch, _FLOAT, ("executorch",), fixed=True),
    "litert": Target(".tflite", write_litert, _FLOAT, ("litert_torch",), fixed=True),
    "ncnn": Target(".ncnn.param", write_ncnn, _FLOAT, ("pnnx",), fixed=True, batches=False),
    "coreml": Target(".mlpackage", write_coreml, _FLOAT, ("coremltools",), fixed=True),
}
