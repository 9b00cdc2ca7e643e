"""A layer in inference follows what happens to it: changed, lent, copied, called at once."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from test_inference import OPERATORS, fused, ordinary
from torch import nn

from rfaconv import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.backends.cpu import library

pytestmark = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))


def _write(layer: Any) -> None:
    layer.weight.data.mul_(2)


def _replace(layer: Any) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() * 2)


def _move(layer: Any) -> None:
    layer.weight.data = layer.weight.data * 2


def _load(layer: Any) -> None:
    state = {name: value * 2 for name, value in layer.state_dict().items()}
    layer.load_state_dict(state)


def _stride(layer: Any) -> None:
    layer.stride = (2, 2)


def _statistics(layer: Any) -> None:
    layer.attention.bn1.running_mean += 1


def _epsilon(layer: Any) -> None:
    layer.attention.bn1.eps = 0.5


def _child(layer: Any) -> None:
    layer.attention.conv_w = nn.Conv2d(*layer.attention.conv_w.weight.shape[1::-1], 1)


def _no_bias(layer: Any) -> None:
    layer.bias = None


@pytest.mark.parametrize(
    "change",
    [_write, _replace, _move, _load, _stride, _statistics, _epsilon, _child, _no_bias],
)
def test_follows_changes(change: Callable[[Any], None], taken: list[bool]) -> None:
    layer, x = fused(RFCAConv2d), torch.randn(2, 8, 13, 11)
    with torch.no_grad():
        before = layer(x)
        change(layer)
        found = layer(x)
    assert taken == [True, True]
    want = ordinary(layer, x)
    assert before.shape != want.shape or not torch.allclose(before, want, rtol=1e-3)
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)


def test_parameters_lent_for_one_call(taken: list[bool]) -> None:
    layer, x = fused(RFAConv2d), torch.randn(2, 8, 13, 11)
    lent = {name: value.detach() * 2 for name, value in layer.named_parameters()}
    with torch.no_grad():
        before = layer(x)
        other = torch.func.functional_call(layer, lent, (x,))
        after = layer(x)
    assert torch.equal(before, after)
    assert not torch.allclose(before, other, rtol=1e-3)


@pytest.mark.parametrize("operator", OPERATORS)
def test_copies_have_their_own(operator: Callable[..., Any], taken: list[bool]) -> None:
    layer, x = fused(operator), torch.randn(2, 8, 13, 11)
    with torch.no_grad():
        want = layer(x)
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        copies = [
            copy.deepcopy(layer),
            pickle.loads(pickle.dumps(layer)),
            torch.load(file, weights_only=False),
        ]
        for other in copies:
            layer.weight.zero_()
            assert torch.equal(other(x), want)
        assert not torch.equal(layer(x), want)
    assert all(taken)


def test_shallow_copies_have_a_geometry_of_their_own(taken: list[bool]) -> None:
    layer, x = fused(RFAConv2d), torch.randn(2, 8, 13, 11)
    with torch.no_grad():
        layer(x)
        other = copy.copy(layer)
        other.stride = (2, 2)
        found = other(x)
    assert all(taken)
    torch.testing.assert_close(found, ordinary(other, x), rtol=1e-5, atol=1e-6)
    assert found.shape[2:] == (7, 6)


def test_threads_at_once(taken: list[bool]) -> None:
    layer = fused(RFCBAMConv2d)
    maps = [torch.randn(2, 8, 9 + i, 11) for i in range(8)]
    with torch.no_grad():
        want = [layer(x) for x in maps]

    def run(i: int) -> bool:
        with torch.no_grad():
            return all(torch.equal(layer(maps[i]), want[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(len(maps))))
    assert all(taken)
