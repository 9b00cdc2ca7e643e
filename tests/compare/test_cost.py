from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfaconv.compare.cost import measure
from rfaconv.compare.macs import network_cost
from rfaconv.compare.memory import peak_bytes
from rfaconv.training.networks import COMPARABLE, build_network


def test_plain_network_agrees_with_torch() -> None:
    network = build_network("small", "conv", classes=10, channels=1, image_size=8, seed=0).eval()
    cost = network_cost(network, (1, 8, 8))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    assert 2 * cost.macs == counter.get_total_flops()
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert (cost.attention_macs, cost.attention_parameters) == (0, 0)


@pytest.mark.parametrize("operator", COMPARABLE[1:])
def test_attention_is_what_the_plain_network_lacks(operator: str) -> None:
    plain = network_cost(
        build_network("small", "conv", classes=10, channels=1, image_size=8, seed=0), (1, 8, 8)
    )
    network = build_network("small", operator, classes=10, channels=1, image_size=8, seed=0)
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    cost = network_cost(network, (1, 8, 8))
    assert cost.macs - cost.attention_macs == plain.macs
    assert cost.parameters - cost.attention_parameters == plain.parameters
    assert cost.attention_macs > 0
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_rfa_of_the_paper() -> None:
    # 9C attention and 81C features with their BatchNorm 18C: 108 C parameters a layer
    network = nn.Sequential(
        build_network("small", "rfa", classes=2, channels=3, image_size=8, seed=0)
    )
    widths = (16, 16, 24, 32)
    assert network_cost(network, (3, 8, 8)).attention_parameters == sum(108 * c for c in widths)


def test_peak_counts_what_is_alive_at_a_time() -> None:
    cpu = torch.device("cpu")

    def chain() -> None:
        x = torch.ones(1000)
        for _ in range(5):
            x = x + 1

    def keep() -> list[torch.Tensor]:
        return [torch.ones(1000) for _ in range(5)]

    def views() -> None:
        x = torch.ones(1000)
        x.view(10, 100).t().add_(1)

    assert peak_bytes(chain, cpu) == 8000
    assert peak_bytes(keep, cpu) == 20_000
    assert peak_bytes(views, cpu) == 4000


def test_measured_figures_are_there_and_positive() -> None:
    networks = {
        name: build_network("small", name, classes=10, channels=1, image_size=8, seed=0)
        for name in ("conv", "rfa")
    }
    found = measure(networks, (1, 8, 8), 16, torch.device("cpu"))
    for row in found.values():
        assert set(row) == {"latency_ms", "step_ms", "peak_mib"}
        assert all(value > 0 for value in row.values())
    assert found["rfa"]["peak_mib"] > found["conv"]["peak_mib"]
