"""The kernels that make gates compile for sm_80 and sm_90 without spills."""

from __future__ import annotations

import pytest
import torch
from testing.triton_compiler import SHARED_LIMIT, Recorder

from rfaconv.backends.triton import channel_gate, line_gates, line_layers, pixel_gate
from rfaconv.geometry import Window

DTYPES = [torch.bfloat16, torch.float32]


def judge(recorder: Recorder) -> None:
    assert recorder.found
    for kernel in recorder.found.values():
        assert kernel.stack == 0, f"{kernel} spills"
        assert kernel.local == 0, f"{kernel} uses local memory"
        assert kernel.shared <= SHARED_LIMIT[kernel.capability], f"{kernel} takes too much"


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("hidden", [16, 64])
def test_channel_gate(hidden: int, capability: int) -> None:
    with Recorder(capability) as recorder:
        for dtype in DTYPES:
            x = torch.zeros(2, 64, 14, 14, dtype=dtype)
            weights = torch.zeros(hidden, 64, dtype=dtype), torch.zeros(64, hidden, dtype=dtype)
            gate, mean = channel_gate.channel_gate(x, *weights)
            channel_gate.channel_gate_backward(gate, gate, mean, *weights, 196, dtype)
    judge(recorder)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_pixel_gate(kernel: int, capability: int) -> None:
    window = Window.create(kernel)
    maps = torch.zeros(2, window.taps, 14, 14)
    with Recorder(capability) as recorder:
        weight = torch.zeros(1, 2, 3, 3)
        pixel_gate.pixel_gate(maps, maps, weight, window.to_ints())
        pixel_gate.pixel_gate_backward(maps, maps, maps, maps, weight, window.to_ints())
    judge(recorder)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("hidden", [8, 16, 64])
def test_coordinate_gates(hidden: int, capability: int) -> None:
    with Recorder(capability) as recorder:
        for dtype in DTYPES:
            reduce_weight = torch.zeros(hidden, 128, dtype=dtype)
            weights = [torch.zeros(128, hidden, dtype=dtype) for _ in range(2)]
            biases = [torch.zeros(128, dtype=dtype) for _ in range(2)]
            state = torch.zeros(hidden, dtype=dtype)
            first, second = torch.zeros(2, 42, 128), torch.zeros(2, 42, 128)
            line_gates.coordinate_gates(
                first.mT, second.mT, reduce_weight, state, [state] * 4, 1e-5, weights, biases
            )
            pair = first.mT, second.mT
            middle = line_layers.line_hidden(*pair, reduce_weight, state)
            line_layers.line_gates(middle, weights, biases, 42)
            line_layers.line_gates_backward(*pair, middle, weights, biases, 42)
            line_layers.line_hidden_backward(middle, *pair, reduce_weight)
    judge(recorder)
