"""Attention modules on feature maps: SE, CAM, CBAM and coordinate attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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
from rfaconv.functional.coordinate import (
    CoordinateWeights,
    coordinate_expand,
    coordinate_hidden,
    coordinate_inference,
)
from rfaconv.functional.squeeze import squeeze_excite
from rfaconv.geometry import to_tuple

# graph tracers take each of these as one step: the shapes inside them are not symbolic
for _name in (
    "apply_coordinate_gates",
    "apply_gate",
    "axis_means",
    "channel_gate",
    "coordinate_expand",
    "coordinate_hidden",
    "spatial_gate",
    "squeeze_excite",
):
    torch.fx.wrap(_name)


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
        _positive("channels", channels)
        _positive("hidden", hidden)
        self.fc1 = nn.Linear(channels, hidden, bias=False, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, channels, bias=False, device=device, dtype=dtype)

    def gate(self, x: Tensor, backend: str = "auto") -> Tensor:
        """Returns the gate of each channel (B, C)."""
        return squeeze_excite(x, self.fc1.weight, self.fc2.weight, backend)

    def forward(self, x: Tensor) -> Tensor:
        """Returns x (B, C, *size) times the gate of each channel."""
        return apply_gate(x, self.gate(x))


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
        hidden = max(1, _positive("channels", channels) // _positive("reduction", reduction))
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False, device=device, dtype=dtype)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False, device=device, dtype=dtype)

    def gate(self, x: Tensor) -> Tensor:
        """Returns the gate of each channel (B, C)."""
        return channel_gate(x, self.fc1.weight, self.fc2.weight)

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
        return apply_gate(x, spatial_gate(x, self.spatial.weight))

    def gate_map(self, x: Tensor) -> Tensor:
        """Returns the product of both gates (B, C, H, W)."""
        return super().gate_map(x) * spatial_gate(super().forward(x), self.spatial.weight)


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

    NAMES: ClassVar[dict[int, tuple[str, ...]]] = {
        1: ("conv_w",),
        2: ("conv_h", "conv_w"),
        3: ("conv_d", "conv_h", "conv_w"),
    }

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
        hidden = max(8, _positive("channels", channels) // _positive("reduction", reduction))
        self.dims = dims
        self.conv1 = nn.Conv2d(channels, hidden, 1, device=device, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(hidden, device=device, dtype=dtype)
        for name in self.NAMES[dims]:
            setattr(self, name, nn.Conv2d(hidden, channels, 1, device=device, dtype=dtype))

    def forward(self, pooled: Sequence[Tensor], backend: str = "auto") -> tuple[Tensor, ...]:
        """Returns the gates (B, C, L_i) for means of the same shapes."""
        layers = [getattr(self, name) for name in self.NAMES[self.dims]]
        reduction = self.conv1.weight, self.conv1.bias
        expansion = [layer.weight for layer in layers], [layer.bias for layer in layers]
        norm = self._running_norm()
        if norm and isinstance(pooled[0], Tensor):
            weights = CoordinateWeights(*reduction, *expansion)
            gates = coordinate_inference(pooled, weights, norm, self.bn1.eps, backend)
            if gates is not None:
                return gates
        hidden = self.bn1(coordinate_hidden(pooled, *reduction, backend))
        return coordinate_expand(hidden, pooled, *expansion, backend)

    def _running_norm(self) -> list[Tensor]:
        """Running mean and variance, scale and shift of the norm; empty where it must be called.

        It must where it uses the batch, is another layer, or has a hook that would see the call.
        """
        norm = self.bn1
        if type(norm) not in (nn.BatchNorm2d, nn.SyncBatchNorm) or norm.training:
            return []
        # torch has no public name for this; without it the norm is called
        any_global_hook = getattr(nn.modules.module, "_has_any_global_hook", lambda: True)
        if norm._forward_hooks or norm._forward_pre_hooks or any_global_hook():
            return []
        if norm.running_mean is None or norm.running_var is None:
            return []
        if (norm.weight is None) != (norm.bias is None):
            return []
        affine = [] if norm.weight is None else [norm.weight, norm.bias]
        return [norm.running_mean, norm.running_var, *affine]


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
        return apply_coordinate_gates(x, super().forward(axis_means(x)))

    def gate_map(self, x: Tensor) -> Tensor:
        """Returns the product of the gates of row and column (B, C, H, W)."""
        row, col = super().forward(axis_means(x))
        return row.unsqueeze(3) * col.unsqueeze(2)
