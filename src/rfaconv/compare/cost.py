"""Time and memory of a network, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.compare.memory import peak_bytes

WARMUP = 1
LATENCY_ROUNDS = 15
STEP_ROUNDS = 3


def measure(
    networks: Mapping[str, nn.Module], image: tuple[int, int, int], batch: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Latency, training step and peak memory of several networks, measured in turns.

    In turns, so that a machine that slows down slows all of them down.

    Args:
        networks: name to network; they are trained by some steps, so hand in fresh copies.
        image: (C, H, W).
        batch: images of a training step.
        device: where to measure.

    Returns:
        Per name: ``latency_ms`` of one image in evaluation mode and ``step_ms`` of one training
        step with ``batch`` images (lower quartiles), ``peak_mib`` of tensors alive during one.
    """
    one = torch.zeros(1, *image, device=device)
    many = torch.randn(batch, *image, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    forward = _in_turns({n: _forward(m, one) for n, m in networks.items()}, LATENCY_ROUNDS, device)
    steps = {name: _step(network, many, labels) for name, network in networks.items()}
    step = _in_turns(steps, STEP_ROUNDS, device)
    return {
        name: {
            "latency_ms": 1e3 * forward[name],
            "step_ms": 1e3 * step[name],
            "peak_mib": peak_bytes(steps[name], device) / 2**20,
        }
        for name in networks
    }


def _in_turns(
    runs: Mapping[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Lower quartile of the seconds of each of ``runs``: other work on the machine only adds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(WARMUP + rounds):
        for name, run in runs.items():
            run()  # the one before has filled the caches with its own weights
            seconds = _seconds(run, device)
            if turn >= WARMUP:
                times[name].append(seconds)
    return {name: sorted(kept)[len(kept) // 4] for name, kept in times.items()}


def _forward(network: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        network.eval()
        with torch.no_grad():
            network(x)

    return run


def _step(network: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)

    def run() -> None:
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return run


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    run()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
