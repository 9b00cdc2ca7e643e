"""Compiles kernels for a GPU that is not there, through the library's own launch code."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from rfaconv.backends.triton.common import launch

SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that a block may have."""


@dataclass(frozen=True)
class Compiled:
    """What became of one kernel: registers per thread, bytes of stack, local and shared memory."""

    kernel: str
    capability: int
    registers: int
    stack: int
    local: int
    shared: int
    threads: int
    cubin: bytes = field(repr=False)


class _Target:
    """The part of a Triton driver that compilation asks for."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def tool() -> str:
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


def usage(cubin: bytes) -> dict[str, int]:
    """Registers, stack, local and shared memory as cuobjdump reports them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [tool(), "-res-usage", file.name],
            check=True,
            capture_output=True,
            encoding="utf-8",
        ).stdout
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}
    if set(found) != {"REG", "STACK", "SHARED", "LOCAL"}:
        raise ValueError(f"cuobjdump said {text!r}")
    return found


class Recorder:
    """Stands in for ``launch.execute``: compiles and keeps what was compiled, runs nothing."""

    def __init__(self, capability: int) -> None:
        self.capability = capability
        self.found: dict[str, Compiled] = {}
        driver.set_active(_Target(capability))

    def __call__(
        self, kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], options: dict[str, Any]
    ) -> None:
        """Compiles what would have been launched."""
        compiled = kernel.warmup(**arguments, **options, grid=grid)
        if compiled.hash in self.found:
            return
        cubin = compiled.asm["cubin"]
        used = usage(cubin)
        self.found[compiled.hash] = Compiled(
            compiled.metadata.name, self.capability, used["REG"], used["STACK"], used["LOCAL"],
            compiled.metadata.shared, compiled.metadata.num_warps * 32, cubin,
        )  # fmt: skip

    def __enter__(self) -> Recorder:
        self.before = launch.execute
        launch.execute = self
        return self

    def __exit__(self, *_: object) -> None:
        launch.execute = self.before
