"""Attention modules on feature maps: SE, CAM, CBAM and coordinate attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional.baselines import (
    apply_coordinate_gates,
    apply_gate,
    axis_means,
    channel_gate,
    spatial_gate,
)
from rfaconv.functional.children import (
    channel_maps,
    gate_of,
    join_lines,
    map_gate,
    pooled_map,
    pooled_vector,
    split_lines,
)
from rfaconv.functional.coordinate import coordinate_expand, coordinate_hidden
from rfaconv.functional.squeeze import squeeze_excite
from rfaconv.geometry import to_tuple
from rfaconv.nn._children import is_plain, is_plain_linear, is_plain_pointwise
from rfaconv.ops import tell_flop_counter

# graph tracers take each of these as one step: the shapes inside them are not symbolic
for _name in (
    "apply_coordinate_gates",
    "apply_gate",
    "axis_means",
    "channel_gate",
    "channel_maps",
    "coordinate_expand",
    "coordinate_hidden",
    "gate_of",
    "join_lines",
    "map_gate",
    "pooled_map",
    "pooled_vector",
    "spatial_gate",
    "split_lines",
    "squeeze_excite",
):
    torch.fx.wrap(_name)

# beside the class, as torch 2.6's compiler reads no mapping of a class
_LINES = {1: ("conv_w",), 2: ("conv_h", "conv_w"), 3: ("conv_d", "conv_h", "conv_w")}
"""The convolution of each spatial dimension in :class:`CoordinateGate`, by their number."""


def _positive(argument: str, value: int) -> int:
    return to_tuple(argument, value, 1, 1)[0]


class SE(nn.Module):
    """Squeeze and excitation: ``x * sigmoid(W2 relu(W1 mean(x)))``.

    Args:
        channels: C of the input (B, C, *size).
        hidden: width of the hidden layer. The published RFCBAMConv has a constant 16.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, *size) to the same; :meth:`gate` returns (B, C).

    Raises:
        InvalidArgument: if ``channels`` or ``hidden`` is not positive.

    Example:
        >>> SE(8)(torch.randn(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])

    Source: paper, section 3.3.
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 16,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        tell_flop_counter()
        _positive("channels", channels)
        _positive("hidden", hidden)
        self.fc1 = nn.Linear(channels, hidden, bias=False, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, channels, bias=False, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Initialises both layers as new ones are."""
        self.fc1.reset_parameters()
        self.fc2.reset_parameters()

    def gate(self, x: Tensor, backend: str = "auto") -> Tensor:
        """Returns the gate of each channel (B, C)."""
        if is_plain_linear(self.fc1) and is_plain_linear(self.fc2):
            return squeeze_excite(x, self.fc1.weight, self.fc2.weight, backend)
        return gate_of(self.fc2(self.fc1(pooled_vector(x)).relu()))

    def forward(self, x: Tensor, *, gate: bool = False, backend: str = "auto") -> Tensor:
        """Returns x (B, C, *size) times the gate of each channel, or that gate alone (B, C)."""
        found = self.gate(x, backend)
        return found if gate else apply_gate(x, found)


class CAM(nn.Module):
    """CBAM's channel attention: ``x * sigmoid(mlp(max(x)) + mlp(mean(x)))``.

    Args:
        channels: C of the input (B, C, *size).
        reduction: the hidden layer has ``max(1, C // reduction)`` channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, *size) to the same; :meth:`gate` returns (B, C).

    Raises:
        InvalidArgument: if ``channels`` or ``reduction`` is not positive.

    Example:
        >>> CAM(8)(torch.randn(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])

    Source: paper, section 4, CAMConv.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        tell_flop_counter()
        hidden = max(1, _positive("channels", channels) // _positive("reduction", reduction))
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False, device=device, dtype=dtype)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Initialises every layer as a new one is."""
        for layer in self.children():
            layer.reset_parameters()  # type: ignore[operator]

    def gate(self, x: Tensor) -> Tensor:
        """Returns the gate of each channel (B, C)."""
        layers = self.fc1, self.fc2
        if all(is_plain_pointwise(layer, bias=False) for layer in layers):
            return channel_gate(x, self.fc1.weight, self.fc2.weight)
        maximum, mean = (self.fc2(self.fc1(pooled_map(x, kind)).relu()) for kind in ("max", "mean"))
        return map_gate(maximum, mean)

    def gate_map(self, x: Tensor) -> Tensor:
        """Returns the gate of each pixel (B, C, H, W): that of its channel."""
        return self.gate(x)[..., None, None].expand(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Returns x (B, C, *size) times the gate of each channel."""
        return apply_gate(x, self.gate(x))


class CBAM(CAM):
    """Channel attention, then spatial attention ``sigmoid(conv([max_c x, mean_c x]))``.

    Args:
        channels: C of the input (B, C, H, W).
        reduction: of the channel attention.
        spatial_kernel_size: odd kernel of the spatial attention, in pixels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to the same.

    Raises:
        InvalidArgument: if an argument is not positive or the kernel is even.

    Example:
        >>> CBAM(8)(torch.randn(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])

    Source: paper, section 4, CBAMConv.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        spatial_kernel_size: int = 7,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, reduction, device=device, dtype=dtype)
        k = _positive("spatial_kernel_size", spatial_kernel_size)
        if k % 2 == 0:
            raise InvalidArgument("spatial_kernel_size", "an odd number", k)
        self.spatial = nn.Conv2d(2, 1, k, padding=k // 2, bias=False, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Returns x (B, C, H, W) times both gates."""
        x = super().forward(x)
        return apply_gate(x, self._spatial_gate(x))

    def _spatial_gate(self, x: Tensor) -> Tensor:
        conv = self.spatial
        if is_plain(conv, nn.Conv2d) and conv.bias is None:
            same = tuple(
                d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
            )
            if conv.stride == conv.dilation == (1, 1) and conv.padding == same:
                return spatial_gate(x, conv.weight)
        return gate_of(conv(channel_maps(x)))

    def gate_map(self, x: Tensor) -> Tensor:
        """Returns the product of both gates (B, C, H, W)."""
        return super().gate_map(x) * self._spatial_gate(super().forward(x))


class CoordinateGate(nn.Module):
    """One gate per row, column, …: ``sigmoid(W_i hardswish(BatchNorm(W1 pooled)))``.

    Args:
        channels: C.
        dims: number of spatial dimensions.
        reduction: the hidden layer has ``max(8, C // reduction)`` channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: one (B, C, L_i) per spatial dimension to the same.

    Source: paper, section 3.3, RFCA.
    """

    def __init__(
        self,
        channels: int,
        dims: int = 2,
        reduction: int = 32,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        tell_flop_counter()
        hidden = max(8, _positive("channels", channels) // _positive("reduction", reduction))
        self.dims = dims
        self.conv1 = nn.Conv2d(channels, hidden, 1, device=device, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(hidden, device=device, dtype=dtype)
        for name in _LINES[dims]:
            setattr(self, name, nn.Conv2d(hidden, channels, 1, device=device, dtype=dtype))

    def forward(
        self,
        pooled: Sequence[Tensor],
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, ...]:
        """Returns the gates (B, C, L_i) for means of the same shapes.

        Layers that have to be called are given ``dtype``, that of the map: what their weights are
        stored in may be another than what they compute in.
        """
        layers = [getattr(self, name) for name in _LINES[self.dims]]
        if is_plain_pointwise(self.conv1):
            hidden = coordinate_hidden(pooled, self.conv1.weight, self.conv1.bias, backend, dtype)
        else:
            hidden = self.conv1(join_lines(pooled, dtype))
        hidden = self.bn1(hidden)
        if all(map(is_plain_pointwise, layers)):
            weights, biases = [c.weight for c in layers], [c.bias for c in layers]
            return coordinate_expand(hidden, pooled, weights, biases, backend, dtype)
        parts = split_lines(hidden, pooled)
        return tuple(gate_of(layer(parts[i])).squeeze(-1) for i, layer in enumerate(layers))

    def reset_parameters(self) -> None:
        """Initialises every layer, and the statistics of the norm, as new ones are."""
        for layer in self.children():
            layer.reset_parameters()  # type: ignore[operator]


class CoordinateAttention(CoordinateGate):
    """Coordinate attention: ``x * row(x) * col(x)``.

    Args:
        channels: C of the input (B, C, H, W).
        reduction: the hidden layer has ``max(8, C // reduction)`` channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape: (B, C, H, W) to the same.

    Raises:
        InvalidArgument: if ``channels`` or ``reduction`` is not positive.

    Example:
        >>> CoordinateAttention(8)(torch.randn(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])

    Source: paper, section 4, CAConv.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 32,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, 2, reduction, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Returns x (B, C, H, W) times the gate of its row and of its column."""
        return apply_coordinate_gates(x, super().forward(axis_means(x), dtype=x.dtype))

    def gate_map(self, x: Tensor) -> Tensor:
        """Returns the product of the gates of row and column (B, C, H, W)."""
        row, col = super().forward(axis_means(x), dtype=x.dtype)
        return row.unsqueeze(3) * col.unsqueeze(2)
