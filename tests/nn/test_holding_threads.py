"""Several threads at one layer, one of them changing its weights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from testing.holding import held, layers, operators
from torch import Tensor, nn


def _exchange(layer: Any, weight: Tensor) -> None:
    layer.weight = nn.Parameter(weight.clone())


def _data(layer: Any, weight: Tensor) -> None:
    layer.weight.data = weight.clone()


def _assigned(layer: Any, weight: Tensor) -> None:
    layer.load_state_dict({"weight": weight.clone()}, strict=False, assign=True)


@operators
@pytest.mark.parametrize("change", [_exchange, _data, _assigned])
def test_a_weight_exchanged_while_two_threads_run(
    operator: str, change: Callable[[Any, Tensor], None]
) -> None:
    layer = held(operator)
    x = torch.randn(1, 8, 24, 20)
    weights = [layer.weight.detach().clone(), torch.randn(8, 8, 3, 3)]
    answers = []
    with torch.no_grad():
        for weight in weights:
            change(layer, weight)
            answers.append(layer(x))
    stop = threading.Event()
    seen = [0, 0]

    def write() -> None:
        i = 0
        while not stop.is_set():
            change(layer, weights[i % 2])
            torch.full((8, 8, 3, 3), torch.nan)  # takes the memory that was freed
            i += 1

    def read() -> None:
        with torch.no_grad():
            for _ in range(150):
                y = layer(x)
                matches = [torch.equal(y, answer) for answer in answers]
                assert any(matches)
                seen[matches.index(True)] += 1

    with ThreadPoolExecutor(3) as pool:
        writer = pool.submit(write)
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for reader in readers:
                reader.result()
        finally:
            stop.set()
        writer.result()
    assert sum(seen) == 300


@layers
def test_threads_with_sizes_of_their_own(operator: str) -> None:
    layer = held(operator)
    maps = [torch.randn(2, 8, 9 + i, 11) for i in range(6)]
    with torch.no_grad():
        expected = [layer(x) for x in maps]

    def run(i: int) -> bool:
        with torch.no_grad():
            return all(torch.equal(layer(maps[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(run, range(len(maps))))


@layers
def test_modes_of_one_thread_are_not_those_of_another(operator: str) -> None:
    layer = held(operator)
    x = torch.randn(2, 8, 6, 5)

    def recorded() -> bool:
        return all(layer(x).requires_grad for _ in range(20))

    def unrecorded() -> bool:
        with torch.inference_mode():
            return all(layer(x).is_inference() for _ in range(20))

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(recorded), pool.submit(unrecorded)]
        assert all(future.result() for future in futures)
