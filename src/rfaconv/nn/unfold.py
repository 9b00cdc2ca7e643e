"""The unfold version of RFAConv: attention on the patches themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.functional._arguments import as_given, fitted, matched, prepare_input
from rfaconv.functional.batch_norm import fold_features
from rfaconv.functional.operators import attend_logits, attend_patches
from rfaconv.nn._children import is_plain_norm
from rfaconv.nn._convolution import AttentionConv, Size
from rfaconv.nn._norm import norm_state
from rfaconv.reference import linear_features

torch.fx.wrap("fold_features")
torch.fx.wrap("fitted")
torch.fx.wrap("prepare_input")
torch.fx.wrap("as_given")
torch.fx.wrap("attend_logits")
torch.fx.wrap("attend_patches")
torch.fx.wrap("linear_features")
torch.fx.wrap("matched")


class UnfoldRFAConv2d(AttentionConv, nn.Conv2d):
    """RFAConv whose features are the patches: no feature weights.

    ``y = K (softmax_j(BatchNorm(W[c] u[c] + b[c])) * u[c]) + bias``: a different function from
    :class:`RFAConv2d`, with the same number of parameters for a 3x3 kernel.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: int or pair, in pixels.
        stride: int or pair, in pixels.
        padding: int, pair, ``"same"``, ``"valid"``, or None for ``dilation * (kernel - 1) // 2``.
        dilation: int or pair, in pixels.
        groups: groups of the final convolution.
        bias: whether the final convolution has a bias.
        padding_mode: as of ``nn.Conv2d``.
        eps: of the BatchNorm over the logits.
        momentum: of the BatchNorm over the logits.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.

    Raises:
        InvalidArgument: for an argument or an input that does not fit; it is named.

    Example:
        >>> UnfoldRFAConv2d(16, 32, 3)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 9, 8])

    Source: paper, section 3.2, extraction by Unfold.
    """

    published_keys: ClassVar[Mapping[str, str]] = {
        "get_weights.0.weight": "attention_weight",
        "get_weights.0.bias": "attention_bias",
        "get_weights.1": "attention_norm",
        "conv": "",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | str | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        taps = math.prod(self.kernel_size)
        shape = (in_channels * taps, taps, 1, 1)
        self.attention_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.attention_bias = nn.Parameter(
            torch.empty(in_channels * taps, device=device, dtype=dtype)
        )
        self.attention_norm = nn.BatchNorm2d(
            in_channels * taps, eps=eps, momentum=momentum, device=device, dtype=dtype
        )
        self._reset_attention()

    def reset_parameters(self) -> None:
        """Initialises every parameter, and the statistics of the norm, as a new layer has them."""
        super().reset_parameters()
        if "attention_norm" in self._modules:  # torch's constructor calls this before it exists
            self._reset_attention()
            self.attention_norm.reset_parameters()

    def _reset_attention(self) -> None:
        nn.init.kaiming_uniform_(self.attention_weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(math.prod(self.kernel_size))
        nn.init.uniform_(self.attention_bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, Ho, Wo) for an input (B, C, H, W), (O, Ho, Wo) for (C, H, W)."""
        kernel, bias = self.weight, self.bias  # once: a parametrization computes them anew
        x = fitted(input, kernel, bias, self.in_channels, self.window, self.groups)
        x = prepare_input(x, self.window, self.padding_mode)
        window, norm = self.inner_window, self.attention_norm
        if is_plain_norm(norm):
            weight, shift = fold_features(
                x, self.attention_weight, norm_state(norm), window, offset=self.attention_bias
            )
            y = attend_patches(x, kernel, bias, weight, shift, window, self.groups)
        else:
            taps = matched("attention_weight", self.attention_weight, x)
            offset = matched("attention_bias", self.attention_bias, x)
            taps = taps.view(-1, 1, *self.kernel_size)
            logits = norm(linear_features(x, taps, window, offset))
            y = attend_logits(x, kernel, bias, logits, window, self.groups)
        return as_given(y, input, window)
