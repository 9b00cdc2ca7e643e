from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data, recipe_network
from rfaconv.lab.contenders import contender, resolved
from rfaconv.lab.costs import Case, measure, network_cost, peak_bytes
from rfaconv.lab.costs.measure import latencies
from rfaconv.lab.costs.wide import matched_width
from rfaconv.lab.networks.classifiers import COMPARABLE, build_network
from rfaconv.lab.recipes import read_recipe


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
    cases = {}
    for name in ("conv", "rfa"):
        network = build_network("small", name, classes=10, channels=1, image_size=8, seed=0)
        many, labels = torch.randn(16, 1, 8, 8), torch.zeros(16, dtype=torch.long)

        def loss(network: nn.Module = network, many=many, labels=labels) -> torch.Tensor:
            return nn.functional.cross_entropy(network(many), labels)

        cases[name] = Case(network, torch.zeros(1, 1, 8, 8), loss, 16)
    found = measure(cases, torch.device("cpu"))
    for row in found.values():
        assert set(row) == {"latency_ms", "step_ms", "images_per_second", "peak_mib"}
        assert all(value > 0 for value in row.values())
        assert row["images_per_second"] == pytest.approx(16e3 / row["step_ms"])
    assert found["rfa"]["peak_mib"] > found["conv"]["peak_mib"]


def test_rows_of_linear_layers_are_counted() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.Linear(20, 7), nn.Flatten(1), nn.Linear(21, 2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 4, 5))
    assert 2 * network_cost(network, (3, 4, 5)).macs == counter.get_total_flops()


@pytest.mark.parametrize(("operator", "maps"), [("features", 1), ("unfold", 1), ("rfa-values", 2)])
def test_ablations_are_counted(operator: str, maps: int) -> None:
    """By hand: features, or gates of the values of patches, of a channel take 9 x 9."""
    network = build_network("small", operator, classes=10, channels=1, image_size=8, seed=0)
    plain = build_network("small", "conv", classes=10, channels=1, image_size=8, seed=0)
    more = network_cost(network, (1, 8, 8)).attention_macs
    assert network_cost(network, (1, 8, 8)).macs == network_cost(plain, (1, 8, 8)).macs + more
    # channels and output pixels of the four replaced convolutions; strides 1, 2, 2, 2
    places = [(16, 64), (16, 16), (24, 4), (32, 1)]
    assert more == maps * sum(81 * channels * pixels for channels, pixels in places)


def test_a_wide_network_takes_as_long() -> None:
    recipe = read_recipe("digits", ["data.limit=64", "data.image_size=32"])
    data = recipe_data(recipe)
    width = matched_width(recipe, "rfca", data, torch.device("cpu"))
    assert 1 < width < 6
    made = contender(recipe, "wide-rfca", 3, {"width": width})
    assert (made.seed, made.model.operator, made.model.width) == (3, "conv", width)
    example = torch.zeros(1, 1, 32, 32)
    aim = contender(recipe, "rfca", 0, {})
    both = {n: (recipe_network(r, data), example) for n, r in {"wide": made, "aim": aim}.items()}
    found = latencies(both, torch.device("cpu"), 25)
    # channels are whole numbers, and a busy machine has slow spells
    assert 0.6 < found["wide"] / found["aim"] < 1.6


def test_names_of_those_that_take_part() -> None:
    assert resolved(["conv", "features", "rfa", "wide", "long-rfa"]) == (
        "conv", "features", "rfa", "wide-rfa", "long-rfa",
    )  # fmt: skip
    for names in (["conv", "wide"], ["rfa", "wide-rfca"], ["rfa", "rfa"], [], ["rfb"]):
        with pytest.raises(InvalidArgument, match="operators: expected"):
            resolved(names)
