from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rfaconv.compare.maps import AttentionMaps, attention_maps, pixel_gates
from rfaconv.data import DataSpec, load_data
from rfaconv.effective import effective_kernels
from rfaconv.nn import CBAMConv2d, RFAConv2d
from rfaconv.training.networks import build_network


def by_loops(layer: torch.nn.Conv2d, gate: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Mean gate of every pixel over channels, windows and taps, from the definition."""
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, layer.padding
    height, width = size
    total, count = torch.zeros(size), torch.zeros(size)
    for p in range(gate.shape[3]):
        for q in range(gate.shape[4]):
            for j in range(kh * kw):
                y = p * sh - ph + (j // kw) * layer.dilation[0]
                x = q * sw - pw + (j % kw) * layer.dilation[1]
                if 0 <= y < height and 0 <= x < width:
                    total[y, x] += gate[0, :, j, p, q].mean()
                    count[y, x] += 1
    mean = total / count.clamp_min(1)
    return mean / mean.mean()


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 1)},
        {"kernel_size": 3, "dilation": 2},
    ],
)
def test_gates_come_back_to_their_pixels(options: dict[str, object]) -> None:
    x = torch.randn(1, 4, 9, 7)
    layer = RFAConv2d(4, 5, **options)  # type: ignore[arg-type]
    gate = effective_kernels(layer, x).gate
    found = pixel_gates(gate, layer, x)
    torch.testing.assert_close(found[0], by_loops(layer, gate, (9, 7)))


def test_attention_over_pixels_is_recovered() -> None:
    x = torch.randn(2, 4, 9, 7)
    layer = CBAMConv2d(4, 5, 3, padding="same")
    gate = layer.attention.gate_map(x).mean(1)
    expected = gate / gate.mean((1, 2), keepdim=True)
    found = pixel_gates(effective_kernels(layer, x).gate, layer, x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("operator", ["conv", "rfca"])
def test_maps_of_a_network_and_their_file(tmp_path: Path, operator: str) -> None:
    data = load_data(DataSpec("digits", limit=20))
    network = build_network("small", operator, classes=10, channels=1, image_size=8, seed=0)
    maps = attention_maps(network, data, torch.device("cpu"))
    assert maps.images.shape == (6, 1, 8, 8)
    assert maps.labels.tolist() == list(range(6))
    assert maps.gradient.shape == (6, 8, 8)
    assert maps.gradient.amax((1, 2)).tolist() == pytest.approx([1.0] * 6)
    assert (maps.gate is None) == (operator == "conv")
    if maps.gate is not None:
        assert maps.gate.mean((1, 2)).tolist() == pytest.approx([1.0] * 6)
    maps.save(tmp_path / "maps.npz")
    again = AttentionMaps.load(tmp_path / "maps.npz")
    assert again.sharing == maps.sharing
    assert torch.equal(again.gradient, maps.gradient)
    assert all(parameter.grad is None for parameter in network.parameters())
