"""A convolution with the norm and the activation behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.nn._convolution import rename_keys


class ConvNormAct(nn.Module):
    """``activation(norm(conv(x)))``: the operators with the tail that detectors give them.

    Args:
        conv: any convolution layer with ``out_channels``.
        norm: makes the norm from the number of channels; None for none.
        activation: makes the activation; None for none.

    Shape: as of ``conv``.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> ConvNormAct(RFAConv2d(16, 32, 3, 2, bias=False))(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 4.2; the published detection layers.
    """

    def __init__(
        self,
        conv: nn.Module,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        super().__init__()
        channels = conv.out_channels
        assert isinstance(channels, int)
        self.conv = conv
        self.norm = nn.Identity() if norm is None else norm(channels)
        self.act = nn.Identity() if activation is None else activation()
        weight = getattr(conv, "weight", None)
        if isinstance(weight, torch.Tensor):
            self.norm.to(device=weight.device, dtype=weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the activated, normalised output of the convolution."""
        result: Tensor = self.act(self.norm(self.conv(x)))
        return result

    def fuse(self) -> ConvNormAct:
        """Folds the norm into the convolution, for deployment; returns the layer itself.

        A norm that is not a BatchNorm is left as it is.
        """
        inner = getattr(self.conv, "fuse", None)
        if callable(inner):
            inner()
        if isinstance(self.norm, nn.BatchNorm2d) and isinstance(self.conv, nn.Conv2d):
            training = self.training
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.conv.train(training)
            self.norm = nn.Identity()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        keys = [key[len(prefix) :] for key in state_dict if key.startswith(prefix)]
        if "conv.0.weight" in keys:  # published: convolution and norm in one Sequential
            _adopt(state_dict, prefix, {"conv.1": "norm"})
        elif "get_weights.0.weight" in keys:  # published unfold layer
            _adopt(state_dict, prefix, {"bn": "norm"})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _adopt(state_dict: dict[str, Tensor], prefix: str, names: dict[str, str]) -> None:
    rename_keys(state_dict, prefix, names)
    for key in [k for k in state_dict if k.startswith(prefix)]:
        rest = key[len(prefix) :]
        if not rest.startswith("norm."):
            state_dict[f"{prefix}conv.{rest}"] = state_dict.pop(key)
