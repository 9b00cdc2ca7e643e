"""The findings of ``rfaconv doctor``, gathered as plain values and shown as tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

import rfaconv
from rfaconv import dispatch
from rfaconv.training.environment import available_cores, commit, package_version, processor

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


def show(report: Mapping[str, Any]) -> None:
    """Prints the findings."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    commit_text = f", commit {report['commit'][:10]}" if report["commit"] else ""
    console.print(
        f"[bold]rfaconv {report['rfaconv']}[/bold]{commit_text}, Python {report['python']}, "
        f"{report['platform']}",
        highlight=False,
    )
    versions = Table("package", "version", title="Packages", title_justify="left")
    for name, version in report["packages"].items():
        versions.add_row(name, version or "[dim]not installed[/dim]")
    listed = Table("device", "name", "", title="Devices", title_justify="left")
    for row in report["devices"]:
        listed.add_row(row["device"], escape(row["name"]), escape(row["detail"]))
    table = Table("backend", "state", title="Backends, in order of choice", title_justify="left")
    for row in report["backends"]:
        details = ", ".join(f"{name} {value}" for name, value in row["details"].items())
        table.add_row(
            row["name"],
            f"[green]available[/green] {escape(details)}"
            if row["reason"] is None
            else f"[yellow]not available:[/yellow] {escape(row['reason'])}",
        )
    console.print(versions, listed, table)
    for name, value in report["environment"].items():
        console.print(f"{name}={value}", highlight=False, markup=False)
    if report["selftest"]:
        results = Table("backend", "case", "result", "", title="Self-test", title_justify="left")
        marks = {True: "[green]passed[/green]", False: "[red]FAILED[/red]", None: "refused"}
        for row in report["selftest"]:
            results.add_row(
                row["backend"], escape(row["case"]), marks[row["passed"]], escape(row["detail"])
            )
        console.print(results)
