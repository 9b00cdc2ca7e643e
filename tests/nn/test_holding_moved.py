"""Layers, and parts of layers, in other dtypes and on other devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from testing.holding import (
    LAYERS,
    assert_composed,
    assert_refused,
    for_every_parameter,
    held,
    layers,
)
from torch import nn


@layers
def test_to_double_and_back(operator: str) -> None:
    layer = held(operator).to(torch.float64)
    assert_composed(layer, dtype=torch.float64, tolerance=1e-6)
    assert_composed(layer.to(torch.float32))


@layers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_to_half_and_back(operator: str, dtype: torch.dtype) -> None:
    layer = held(operator).to(dtype)
    # as many digits as the dtype has: the composition rounds every map, ours the result
    assert_composed(layer, dtype=dtype, training=False, tolerance=0.1)
    assert_composed(layer.to(torch.float32))


@layers
def test_swapped_when_converted(operator: str) -> None:
    """Conversions may swap parameters in place of writing to them."""
    layer = held(operator)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        layer.double().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert_composed(layer)


@layers
@pytest.mark.parametrize(
    ("of_layer", "of_input"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.int64),
        (torch.float32, torch.uint8),
    ],
    ids=str,
)
def test_input_of_another_dtype(
    operator: str, of_layer: torch.dtype, of_input: torch.dtype
) -> None:
    assert_refused(held(operator).to(of_layer), dtype=of_input)


@layers
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32], ids=str)
def test_one_parameter_of_another_dtype(operator: str, dtype: torch.dtype) -> None:
    def check(layer: Any, module: Any, name: str) -> None:
        values = (getattr(module, name).detach() * 3).to(dtype)
        setattr(module, name, nn.Parameter(values, requires_grad=False))
        # of float32 and bfloat16 together torch's norms make sense
        assert_composed(layer, recorded=False, training=False, refusable=True)

    for_every_parameter(operator, check)


@layers
def test_everything_on_meta(operator: str) -> None:
    assert_refused(held(operator).to("meta"))


@layers
def test_one_parameter_on_meta(operator: str) -> None:
    """Torch's own convolution answers with whatever lies in memory; ours must not."""

    def check(layer: Any, module: Any, name: str) -> None:
        setattr(module, name, nn.Parameter(getattr(module, name).detach().to("meta")))
        assert_refused(layer)

    for_every_parameter(operator, check)


@layers
@pytest.mark.parametrize("buffer", ["running_mean", "running_var"])
def test_statistics_on_meta(operator: str, buffer: str) -> None:
    layer = held(operator)
    norms = [m for m in layer.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        pytest.skip("the layer has no norm")
    for norm in norms:
        setattr(norm, buffer, getattr(norm, buffer).to("meta"))
    assert_refused(layer)


@layers
def test_input_on_meta(operator: str) -> None:
    layer: Any = held(operator)
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError)):
        layer(torch.empty(2, 8, 6, 5, device="meta"))


def _children() -> list[tuple[str, str]]:
    return [
        (operator, name)
        for operator, layer in LAYERS.items()
        for name, module in layer(8, 8, 3).named_modules()
        if name and list(module.parameters(recurse=False))
    ]


@pytest.mark.parametrize(("operator", "child"), _children())
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_one_child_of_another_dtype(operator: str, child: str, dtype: torch.dtype) -> None:
    layer = held(operator)
    layer.get_submodule(child).to(dtype)
    assert_composed(layer, recorded=False, training=False, refusable=True)


@layers
def test_a_sparse_weight(operator: str) -> None:
    layer = held(operator)
    layer.weight = nn.Parameter(layer.weight.detach().to_sparse())
    assert_refused(layer)


@layers
def test_a_complex_weight(operator: str) -> None:
    layer = held(operator)
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.complex64))
    assert_refused(layer)
