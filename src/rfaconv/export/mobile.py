"""Files for the runtimes of phones and small machines: one function per target.

Their sizes are fixed: that of the sample. Only float32 is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rfaconv.export.targets import Job

METADATA = "rfaconv.json"


def write_executorch(job: Job, path: Path) -> None:
    """By ExecuTorch, for its XNNPACK backend."""
    with lenient():
        _executorch(job, path)
    _beside(job, path)


def _executorch(job: Job, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        program = torch.export.export(job.network, (job.sample,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def write_litert(job: Job, path: Path) -> None:
    """By litert-torch; the file is a zip archive too, which holds the metadata."""
    with lenient(), silent():
        import litert_torch

        litert_torch.convert(job.network, (job.sample,)).export(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(job.metadata))


def write_ncnn(job: Job, path: Path) -> None:
    """By pnnx: ``NAME.ncnn.param`` and the weights in ``NAME.ncnn.bin``."""
    stem = path.name.removesuffix(".ncnn.param")
    weights = path.with_name(f"{stem}.ncnn.bin")
    # pnnx names variables of a Python file by the modules, and those of a list are numbers
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, lenient(), silent():
        import pnnx

        traced = f"{folder}/network.pt"
        pnnx.export(
            Named(job.network).eval(), traced, job.sample, fp16=False, check_trace=False,
            ncnnparam=str(path), ncnnbin=str(weights), ncnnpy=f"{folder}/ncnn.py",
        )  # fmt: skip
    if not weights.is_file():
        raise RuntimeError("pnnx wrote no file; RFACONV_LOUD=1 shows what it says")
    _beside(job, path)


def write_coreml(job: Job, path: Path) -> None:
    """By coremltools: an ML program, computed in float32; runs on Apple's systems alone."""
    with lenient(), silent(), torch.no_grad():
        import coremltools

        traced = torch.jit.trace(job.network, job.sample, check_trace=False)
        model: Any = coremltools.convert(
            traced,
            inputs=[coremltools.TensorType(name="images", shape=tuple(job.sample.shape))],
            outputs=[coremltools.TensorType(name="output")],
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS15,
        )
        model.user_defined_metadata.update(job.metadata)
        model.save(str(path))


class Named(nn.Module):
    """A network under a name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        result: Tensor = self.network(x)
        return result


def _beside(job: Job, path: Path) -> None:
    """Metadata of a file that has no place for strings."""
    path.with_name(f"{path.name}.json").write_text(json.dumps(job.metadata), encoding="utf-8")


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Lets converters and their packages warn of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keeps off the terminal what converters print, C++ and child processes too.

    ``RFACONV_LOUD=1`` shows it.
    """
    if os.environ.get("RFACONV_LOUD"):
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "wb") as nothing:
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
