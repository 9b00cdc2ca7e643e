"""The yardstick: the operators as published, layer by layer, in stock torch modules.

Written from the formulas of the paper (section 3): grouped convolution, BatchNorm, ReLU, softmax,
rearrangement to the enlarged map, k x k convolution of stride k. It is what the published code
costs, and nothing else; use the layers of :mod:`rfaconv` for anything but measuring.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "PUBLISHED",
    "PublishedRFA",
    "PublishedRFCA",
    "PublishedRFCBAM",
    "enlarged",
    "put_published_",
]


def enlarged(values: Tensor, kernel: int) -> Tensor:
    """Lays the taps side by side: (B, C, k*k, H, W) to (B, C, k H, k W).

    Example:
        >>> enlarged(torch.zeros(2, 4, 9, 5, 6), 3).shape
        torch.Size([2, 4, 15, 18])
    """
    b, c, _, h, w = values.shape
    tiles = values.view(b, c, kernel, kernel, h, w).permute(0, 1, 4, 2, 5, 3)
    return tiles.reshape(b, c, h * kernel, w * kernel)


class _Published(nn.Module):
    """Feature extraction and final convolution, which the three operators share."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        wide = in_channels * kernel**2
        self.generate = nn.Sequential(
            nn.Conv2d(
                in_channels, wide, kernel, stride, kernel // 2, groups=in_channels, bias=False
            ),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
        )
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, kernel)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, k*k, Ho, Wo)."""
        return self.generate(x).unflatten(1, (x.shape[1], self.kernel**2))  # type: ignore[no-any-return]


class PublishedRFA(_Published):
    """``conv(enlarge(softmax(w * avgpool(x)) * relu(norm(G x))))``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)
        wide = in_channels * kernel**2
        self.get_weight = nn.Sequential(
            nn.AvgPool2d(kernel, stride, kernel // 2),
            nn.Conv2d(in_channels, wide, 1, groups=in_channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, Ho, Wo) of (B, C, H, W)."""
        attention = self.get_weight(x).unflatten(1, (x.shape[1], self.kernel**2)).softmax(2)
        return self.conv(enlarged(self.features(x) * attention, self.kernel))  # type: ignore[no-any-return]


class PublishedRFCBAM(_Published):
    """Channel gate of the input times a sigmoid of a 3x3 convolution over [max, mean] of the
    map.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)
        self.squeeze = nn.Sequential(
            nn.Linear(in_channels, 16, bias=False),
            nn.ReLU(),
            nn.Linear(16, in_channels, bias=False),
            nn.Sigmoid(),
        )
        self.get_weight = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, Ho, Wo) of (B, C, H, W)."""
        channel = self.squeeze(x.mean((2, 3)))[:, :, None, None]
        large = enlarged(self.features(x), self.kernel)
        maps = torch.cat([large.amax(1, keepdim=True), large.mean(1, keepdim=True)], 1)
        return self.conv(large * channel * self.get_weight(maps))  # type: ignore[no-any-return]


class PublishedRFCA(_Published):
    """Coordinate attention of the enlarged map."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)
        hidden = max(8, in_channels // 32)
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.row = nn.Conv2d(hidden, in_channels, 1)
        self.column = nn.Conv2d(hidden, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, O, Ho, Wo) of (B, C, H, W)."""
        large = enlarged(self.features(x), self.kernel)
        rows, columns = large.mean(3, keepdim=True), large.mean(2, keepdim=True).transpose(2, 3)
        joint = self.reduce(torch.cat([rows, columns], 2))
        rows, columns = joint.split([rows.shape[2], columns.shape[2]], 2)
        row, column = self.row(rows).sigmoid(), self.column(columns.transpose(2, 3)).sigmoid()
        return self.conv(large * row * column)  # type: ignore[no-any-return]


PUBLISHED: dict[str, type[_Published]] = {
    "rfa": PublishedRFA,
    "rfcbam": PublishedRFCBAM,
    "rfca": PublishedRFCA,
}


def put_published_(network: Any, operator: str) -> None:
    """Puts the published formulation into the first convolution of every block of a ResNet."""
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            old = block.conv1
            block.conv1 = PUBLISHED[operator](
                old.in_channels, old.out_channels, old.kernel_size[0], old.stride[0]
            )
