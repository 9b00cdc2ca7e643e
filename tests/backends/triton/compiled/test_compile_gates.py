"""The kernels that make gates compile for sm_80 and sm_90 without spills."""

from __future__ import annotations

import pytest
import torch
from testing.triton_compiler import SHARED_LIMIT, Recorder

from rfaconv.backends.triton.gates import channel as channel_gate
from rfaconv.backends.triton.gates import coordinate as line_gates
from rfaconv.backends.triton.gates import lines as line_layers
from rfaconv.backends.triton.gates import pixel as pixel_gate
from rfaconv.geometry import Window

DTYPES = [torch.bfloat16, torch.float32]


def judge(recorder: Recorder) -> None:
    assert recorder.found
    for kernel in recorder.found.values():
        assert kernel.stack == 0, f"{kernel} spills"
        assert kernel.local == 0, f"{kernel} uses local memory"
        assert kernel.shared <= SHARED_LIMIT[kernel.capability], f"{kernel} takes too much"


def channel_gates(hidden: int, batch: int = 2, channels: int = 64, side: int = 14) -> None:
    for dtype in DTYPES:
        x = torch.zeros(batch, channels, side, side, dtype=dtype)
        weights = [torch.zeros(s, dtype=dtype) for s in ((hidden, channels), (channels, hidden))]
        gate, mean = channel_gate.channel_gate(x, *weights)
        channel_gate.channel_gate_backward(gate, gate, mean, *weights, side**2, dtype)


def pixel_gates(kernel: int, batch: int = 2, side: int = 14, reach: int = 3) -> None:
    window = Window.create(kernel)
    maps = torch.zeros(batch, window.taps, side, side)
    weight = torch.zeros(1, 2, reach, reach)
    pixel_gate.pixel_gate(maps, maps, weight, window.to_ints())
    pixel_gate.pixel_gate_backward(maps, maps, maps, maps, weight, window.to_ints())


def coordinate_gates(hidden: int, batch: int = 2, channels: int = 128, lines: int = 42) -> None:
    for dtype in DTYPES:
        reduce_weight = torch.zeros(hidden, channels, dtype=dtype)
        weights = [torch.zeros(channels, hidden, dtype=dtype) for _ in range(2)]
        biases = [torch.zeros(channels, dtype=dtype) for _ in range(2)]
        state = torch.zeros(hidden, dtype=dtype)
        first, second = torch.zeros(2, batch, lines, channels).mT
        line_gates.coordinate_gates(
            first, second, reduce_weight, state, [state] * 4, 1e-5, weights, biases
        )
        middle = line_layers.line_hidden(first, second, reduce_weight, state)
        line_layers.line_gates(middle, weights, biases, lines)
        line_layers.line_gates_backward(first, second, middle, weights, biases, lines)
        line_layers.line_hidden_backward(middle, first, second, reduce_weight)


@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("hidden", [16, 64])
def test_channel_gate(hidden: int, capability: int) -> None:
    with Recorder(capability) as recorder:
        channel_gates(hidden)
    judge(recorder)


@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_pixel_gate(kernel: int, capability: int) -> None:
    with Recorder(capability) as recorder:
        pixel_gates(kernel)
    judge(recorder)


@pytest.mark.parametrize("capability", [80, 90], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("hidden", [8, 16, 64])
def test_coordinate_gates(hidden: int, capability: int) -> None:
    with Recorder(capability) as recorder:
        coordinate_gates(hidden)
    judge(recorder)


def test_sizes_of_one() -> None:
    """Arguments that are 1 are constants to the compiler; see the projection's test."""
    with Recorder(90) as recorder:
        channel_gates(1, batch=1, channels=1, side=1)
        pixel_gates(1, batch=1, side=1, reach=1)
        pixel_gates(3, batch=1, side=1)
        coordinate_gates(1, batch=1, channels=1, lines=1)
    judge(recorder)
