"""Exports a network to a file."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument, RFAConvError, unknown_name
from rfaconv.export.mobile import lenient
from rfaconv.export.prepare import prepare
from rfaconv.export.source import Source
from rfaconv.export.targets import OPSET, TARGETS, Job
from rfaconv.export.writing import ExportFailed, check_free, write_files

OPSETS = range(18, 24)
EXPORTERS = ("dynamo", "legacy")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file to load.
        files: all files, ``path`` last.
        target: as asked for.
        metadata: as in the file.
    """

    path: Path
    files: tuple[Path, ...]
    target: str
    metadata: dict[str, str]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.stat().st_size for file in self.files)


def export(
    network: nn.Module | Source,
    path: Path | str,
    to: str = "onnx",
    *,
    dtype: str = "float32",
    dynamic: bool | None = None,
    batch: int | None = None,
    force: bool = False,
    shaped: bool = True,
    opset: int = OPSET,
    exporter: str = "dynamo",
    external_data: bool | None = None,
    calibration: Sequence[Tensor] = (),
) -> Exported:
    """Writes a network for a runtime: norms folded, plain operations, any size of images.

    Args:
        network: any network from (B, C, H, W) to one tensor, or a :class:`Source` with metadata.
        path: the file.
        to: ``onnx``, ``openvino``, ``torch-export``, ``aoti``, ``torchscript``; with fixed sizes
            ``executorch``, ``litert``, ``ncnn`` or ``coreml``.
        dtype: of weights and computation; the file takes and gives float32 always. OpenVINO
            stores float16 weights and computes as its ``INFERENCE_PRECISION_HINT`` says. ``int8``
            (ONNX and OpenVINO) keeps the gates in float32.
        dynamic: whether batch, height and width stay free; else they are those of the source.
            None: where the target allows.
        batch: images of the sample that is traced, and the batch where it is not free. None: one
            for targets with fixed sizes, two for the others.
        force: whether a file that exists is replaced.
        shaped: whether the receptive-field layers take the form that runtimes run fastest.
        opset: of ONNX, 18 to 23.
        exporter: of ONNX, ``dynamo`` or ``legacy``.
        external_data: whether ONNX weights go to a file beside; None: from 1.9 GB.
        calibration: normalised images (1, C, H, W) for ``int8``.

    Returns:
        What was written.

    Raises:
        InvalidArgument: an argument that does not fit, or a file that exists.
        ExportFailed: the network cannot be exported; nothing was written.

    Example:
        >>> import tempfile
        >>> from rfaconv.nn import RFAConv2d
        >>> folder = tempfile.mkdtemp()
        >>> export(Source(RFAConv2d(3, 8, 3)), f"{folder}/layer.pt2", "torch-export").path.name
        'layer.pt2'
    """
    source = network if isinstance(network, Source) else Source(network)
    path = Path(path)
    if to not in TARGETS:
        raise unknown_name("to", to, TARGETS)
    target = TARGETS[to]
    if dtype not in target.dtypes:
        got = f"{dtype!r}: its CPU runtime has no such convolution, or is not exported for it"
        raise InvalidArgument("dtype", f"{' or '.join(target.dtypes)} for {to}", got)
    if opset not in OPSETS:
        raise InvalidArgument("opset", f"{OPSETS.start} to {OPSETS.stop - 1}", opset)
    if exporter not in EXPORTERS:
        raise unknown_name("exporter", exporter, EXPORTERS)
    if dynamic and target.fixed:
        raise InvalidArgument("dynamic", f"False: files of {to} have fixed sizes", "True")
    dynamic = not target.fixed if dynamic is None else dynamic
    if batch is None:
        batch = 1 if target.fixed else 2
    if batch > 1 and not target.batches:
        raise InvalidArgument("batch", f"1: files of {to} take one picture", batch)
    if batch < 1:
        raise InvalidArgument("batch", "1 or more", batch)
    if (dtype == "int8") != bool(len(calibration)):
        raise InvalidArgument("calibration", "pictures for int8, and for nothing else", dtype)
    check_free(path, force)
    with lenient():
        for package in target.needs:
            importlib.import_module(package)
    half = to == "openvino" and dtype == "float16"
    computed = "float32" if half or dtype == "int8" else dtype
    form = "int8" if dtype == "int8" else to
    prepared = prepare(source.network, computed, shaped=shaped, runtime=form)
    # a batch of one would be taken for a constant
    count = max(batch, 2) if dynamic else batch
    least = source.least if dynamic else 1
    sides = (max(side, least) for side in source.sample_size)
    sample = torch.zeros(count, source.channels, *sides)
    _run_once(prepared, sample, to)
    metadata = source.metadata(fixed=not dynamic) | {"rfaconv.dtype": dtype}
    if to == "onnx":
        metadata["rfaconv.opset"] = str(opset)
    job = Job(
        prepared, sample, dynamic, metadata, opset, exporter, external_data, half, calibration
    )  # fmt: skip
    try:
        files = write_files(path, lambda file: target.write(job, file))
    except (RFAConvError, OSError):
        raise
    except Exception as error:  # exporters raise whatever they like
        raise ExportFailed(to, _reason(error)) from error
    return Exported(path, tuple(files), to, metadata)


def _run_once(network: nn.Module, sample: torch.Tensor, to: str) -> None:
    """Runs one sample, so that a network that cannot run is refused in its own words."""
    try:
        with torch.no_grad():
            result: Any = network(sample[:1])
    except RFAConvError:
        raise
    except Exception as error:
        size = "x".join(map(str, sample.shape[1:]))
        raise ExportFailed(to, f"it does not run on a {size} picture: {error}") from error
    if not isinstance(result, torch.Tensor):
        raise ExportFailed(to, f"it returns a {type(result).__name__}, not one tensor")


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500] if lines else type(error).__name__
