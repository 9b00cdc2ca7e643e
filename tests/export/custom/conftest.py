"""What the tests of ONNX Runtime's custom operators share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rfaconv.export.custom import library_path


@pytest.fixture(scope="session")
def operators() -> Path:
    """The operator library; tests that need it skip where it was not built."""
    try:
        return library_path()
    except RuntimeError as error:
        if os.environ.get("RFACONV_REQUIRE_CPU") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """The layers are small: threads that wait for each other cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def liven() -> Callable[[nn.Module], nn.Module]:
    """Gives every BatchNorm statistics that show whether they are used."""

    def apply(module: nn.Module) -> nn.Module:
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.data.uniform_(0.5, 1.5)
                layer.bias.data.normal_(0, 0.2)
        return module.eval()

    return apply


@pytest.fixture
def assert_close() -> Callable[[np.ndarray, torch.Tensor], None]:
    """Equal to 1e-5 of the largest value."""

    def check(got: np.ndarray, expected: torch.Tensor) -> None:
        wanted = expected.detach().numpy()
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()

    return check
