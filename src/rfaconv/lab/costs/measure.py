"""Time and memory of a network, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.bench.timing import in_turns
from rfaconv.lab.costs.memory import peak_bytes

LATENCY_ROUNDS = 15
STEP_ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """One network to be measured; it is trained by some steps, so hand in a fresh one.

    Attributes:
        network: on the device.
        example: one image in the form that it takes in evaluation.
        loss: of a batch.
        batch: images of that batch.
    """

    network: nn.Module
    example: Any
    loss: Callable[[], Tensor]
    batch: int


def measure(cases: Mapping[str, Case], device: torch.device) -> dict[str, dict[str, float]]:
    """Latency, training step and peak memory of several networks, measured in turns.

    In turns, so that a machine that slows down slows all of them down.

    Args:
        cases: by name.
        device: where they are.

    Returns:
        Per name: ``latency_ms`` of one image in evaluation mode, ``step_ms`` of one training step
        (lower quartiles), ``images_per_second`` in it, ``peak_mib`` of tensors alive during one.
    """
    forward = latencies({name: (case.network, case.example) for name, case in cases.items()},
                        device)  # fmt: skip
    steps = {name: _step(case.network, case.loss) for name, case in cases.items()}
    step = _in_turns(steps, STEP_ROUNDS, device)
    return {
        name: {
            "latency_ms": 1e3 * forward[name],
            "step_ms": 1e3 * step[name],
            "images_per_second": case.batch / step[name],
            "peak_mib": peak_bytes(steps[name], device) / 2**20,
        }
        for name, case in cases.items()
    }


def latencies(
    networks: Mapping[str, tuple[nn.Module, Any]],
    device: torch.device,
    rounds: int = LATENCY_ROUNDS,
) -> dict[str, float]:
    """Seconds of one image in evaluation mode, of several networks in turns."""
    return _in_turns({name: _forward(*pair) for name, pair in networks.items()}, rounds, device)


def _in_turns(
    runs: Mapping[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Lower quartile of the seconds of each of ``runs``: other work on the machine only adds."""

    def clock() -> float:
        _synchronize(device)
        return time.perf_counter()

    # the one before has filled the caches with its own weights
    times = in_turns(runs, rounds, settle=True, clock=clock)
    return {name: sorted(kept)[len(kept) // 4] for name, kept in times.items()}


def _forward(network: nn.Module, example: Any) -> Callable[[], None]:
    def run() -> None:
        network.eval()
        with torch.no_grad():
            network(example)

    return run


def _step(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, nesterov=True)

    def run() -> None:
        network.train()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
