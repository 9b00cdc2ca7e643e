"""The findings of ``rfaconv doctor``, gathered as plain values."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

import rfaconv
from rfaconv import dispatch
from rfaconv.bench.environment import available_cores, commit, package_version, processor
from rfaconv.cli._doctor_layers import layer_rows

PACKAGES = (
    "torch", "torchvision", "timm", "lightning", "torchmetrics", "scikit-learn", "matplotlib",
    "typer", "rich", "pydantic", "triton", "ultralytics", "segmentation-models-pytorch", "onnx",
    "onnxruntime", "openvino",
)  # fmt: skip


def collect(selftest: bool) -> dict[str, Any]:
    """Everything that is reported, as plain values for JSON."""
    return {
        "rfaconv": rfaconv.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "devices": devices(),
        "backends": backends(),
        "layers": list(layer_rows()),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("RFACONV_")},
        "selftest": selftest_rows() if selftest else [],
    }


def devices() -> list[dict[str, str]]:
    """The CPU and every accelerator that torch can use."""
    capability = torch.backends.cpu.get_cpu_capability()
    found = [
        {
            "device": "cpu",
            "name": processor(),
            "detail": f"{available_cores()} cores, {torch.get_num_threads()} threads, {capability}",
        }
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            found.append(
                {
                    "device": f"cuda:{index}",
                    "name": properties.name,
                    "detail": f"{memory:.0f} GiB, compute capability "
                    f"{properties.major}.{properties.minor}, CUDA {torch.version.cuda}",
                }
            )
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "detail": ""})
    return found


def backends() -> list[dict[str, Any]]:
    """Every backend in order of priority: available, or the reason why not."""
    return [
        {"name": status.name, "reason": status.reason, "details": dict(status.details)}
        for status in dispatch.available()
    ]


def selftest_rows() -> list[dict[str, Any]]:
    """Every backend's self-test: passed, failed, or (None) refused with a reason."""
    from rfaconv.backends.selftest import selftest

    return [
        {"backend": row.backend, "case": row.case, "passed": row.passed, "detail": row.detail}
        for row in selftest()
    ]
