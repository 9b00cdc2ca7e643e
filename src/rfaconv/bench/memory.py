"""Memory: bytes that autograd keeps for the backward pass, and the peak of a process."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from rfaconv.bench.cases import BenchCase

__all__ = ["PEAK_KNOWN", "peak_bytes", "saved_bytes"]

PEAK_KNOWN = sys.platform == "linux"
"""Whether the system tells a process its peak and lets it start again from zero."""


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes kept for backward while the result lives: every storage once, parameters left out.

    Args:
        module: Its parameters and buffers exist anyway and are not counted.
        x: Its input, which is counted if it is kept.
    """
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = module(x)
    del result
    return sum(kept.values())


def peak_bytes(case: BenchCase, side: str, operator: str, batch: int, training: bool) -> int:
    """Peak resident memory of two steps, less the memory of the process before the module is built.

    Runs in a process of its own (Linux): what earlier cases left behind would hide the peak.

    Raises:
        RuntimeError: the process failed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    threads = torch.get_num_threads()
    arguments = (sender, case, side, operator, batch, training, threads)
    process = context.Process(target=_measure_peak, args=arguments)
    process.start()
    sender.close()
    try:
        result: int = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(
            f"{case.name}, {side}: the process ended with {process.exitcode}"
        ) from error
    process.join()
    return result


def _measure_peak(
    sender: Connection,
    case: BenchCase,
    side: str,
    operator: str,
    batch: int,
    training: bool,
    threads: int,
) -> None:
    from rfaconv.bench.sides import build

    torch.set_num_threads(threads)
    # pools, kernels and code are loaded before, at a size too small to matter
    _steps(build(case, side, operator, training), _input(case, 1, 64), training)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    _steps(build(case, side, operator, training), _input(case, batch, case.size), training)
    sender.send(_status("VmHWM") - before)


def _input(case: BenchCase, batch: int, size: int) -> Tensor:
    return torch.randn(batch, case.in_channels, min(size, case.size), min(size, case.size))


def _steps(module: nn.Module, x: Tensor, training: bool) -> None:
    for _ in range(2):
        if training:
            module(x.requires_grad_()).square().mean().backward()
        else:
            with torch.no_grad():
                module(x)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")
