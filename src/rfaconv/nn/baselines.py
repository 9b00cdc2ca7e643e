"""CAMConv, CBAMConv and CAConv: attention on the map in front of a convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.functional._arguments import as_given, fitted, prepare_input
from rfaconv.functional.baselines import convolve_attended
from rfaconv.nn._convolution import AttentionConv, Size
from rfaconv.nn.attention import CAM, CBAM, CoordinateAttention

torch.fx.wrap("as_given")
torch.fx.wrap("convolve_attended")
torch.fx.wrap("fitted")
torch.fx.wrap("prepare_input")


class _BaselineConv(AttentionConv):
    attention: nn.Module

    def _add_attention(self, make: Callable[[int], nn.Module]) -> None:
        self.attention = make(self.in_channels)

    def reset_parameters(self) -> None:
        """Initialises every parameter, and the statistics of norms, as a new layer has them."""
        super().reset_parameters()
        if "attention" in self._modules:  # torch's constructor calls this before it exists
            self.attention.reset_parameters()  # type: ignore[operator]

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, Ho, Wo) for an input (B, C, H, W), (O, Ho, Wo) for (C, H, W)."""
        weight, window = self.weight, self.window  # once: a parametrization computes it anew
        bias, groups = self.bias, self.groups
        x = fitted(input, weight, bias, self.in_channels, window, groups)
        x = self.attention(prepare_input(x, window))
        if self.padding_mode != "zeros":
            x = prepare_input(x, window, self.padding_mode)
        y = convolve_attended(x, weight, bias, self.inner_window, groups)
        return as_given(y, input, window)


class CAMConv2d(_BaselineConv, nn.Conv2d):
    """Channel attention, then a convolution: ``conv(CAM(x))``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: int or pair, in pixels.
        stride: int or pair, in pixels.
        padding: int, pair, ``"same"``, ``"valid"``, or None for ``dilation * (kernel - 1) // 2``.
        dilation: int or pair, in pixels.
        groups: groups of the convolution.
        bias: whether the convolution has a bias.
        padding_mode: as of ``nn.Conv2d``.
        reduction: the attention's hidden layer has ``max(1, C // reduction)`` channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.

    Raises:
        InvalidArgument: for an argument or an input that does not fit; it is named.

    Example:
        >>> CAMConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 4, CAMConv.
    """

    published_keys: ClassVar[Mapping[str, str]] = {
        "mlp.0": "attention.fc1",
        "mlp.2": "attention.fc2",
        "conv.0": "",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._add_attention(lambda c: CAM(c, reduction, device=device, dtype=dtype))


class CBAMConv2d(_BaselineConv, nn.Conv2d):
    """Channel and spatial attention, then a convolution: ``conv(CBAM(x))``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: int or pair, in pixels.
        stride: int or pair, in pixels.
        padding: int, pair, ``"same"``, ``"valid"``, or None for ``dilation * (kernel - 1) // 2``.
        dilation: int or pair, in pixels.
        groups: groups of the convolution.
        bias: whether the convolution has a bias.
        padding_mode: as of ``nn.Conv2d``.
        reduction: the attention's hidden layer has ``max(1, C // reduction)`` channels.
        spatial_kernel_size: odd kernel of the spatial attention, in pixels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.

    Raises:
        InvalidArgument: for an argument or an input that does not fit; it is named.

    Example:
        >>> CBAMConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 4, CBAMConv.
    """

    published_keys: ClassVar[Mapping[str, str]] = {
        "mlp.0": "attention.fc1",
        "mlp.2": "attention.fc2",
        "spatital": "attention.spatial",
        "conv.0": "",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        reduction: int = 16,
        spatial_kernel_size: int = 7,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._add_attention(
            lambda c: CBAM(c, reduction, spatial_kernel_size, device=device, dtype=dtype)
        )


class CAConv2d(_BaselineConv, nn.Conv2d):
    """Coordinate attention, then a convolution: ``conv(CoordinateAttention(x))``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: int or pair, in pixels.
        stride: int or pair, in pixels.
        padding: int, pair, ``"same"``, ``"valid"``, or None for ``dilation * (kernel - 1) // 2``.
        dilation: int or pair, in pixels.
        groups: groups of the convolution.
        bias: whether the convolution has a bias.
        padding_mode: as of ``nn.Conv2d``.
        reduction: the attention's hidden layer has ``max(8, C // reduction)`` channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to (B, O, Ho, Wo), sizes as of ``nn.Conv2d``.

    Raises:
        InvalidArgument: for an argument or an input that does not fit; it is named.

    Example:
        >>> CAConv2d(16, 32, 3, stride=2)(torch.randn(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])

    Source: paper, section 4, CAConv.
    """

    published_keys: ClassVar[Mapping[str, str]] = {
        "conv1": "attention.conv1",
        "bn1": "attention.bn1",
        "conv_h": "attention.conv_h",
        "conv_w": "attention.conv_w",
        "conv.0": "",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        reduction: int = 32,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._add_attention(lambda c: CoordinateAttention(c, reduction, device=device, dtype=dtype))
