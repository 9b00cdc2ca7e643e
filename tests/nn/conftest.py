"""What tests of layers in inference share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rfaconv.nn._receptive_field import ReceptiveFieldConv


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a layer was one op."""
    calls: list[bool] = []
    attend = ReceptiveFieldConv._attend

    def counted(layer: Any, x: Tensor) -> Tensor | None:
        y = attend(layer, x)
        if not (layer.training and torch.is_grad_enabled()):  # not a step of training
            calls.append(y is not None)
        return y

    monkeypatch.setattr(ReceptiveFieldConv, "_attend", counted)
    return calls
