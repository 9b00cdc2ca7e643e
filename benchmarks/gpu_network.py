"""ResNet-18 for where timm is not installed: the same layers, widths and strides."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from rfaconv.bench.published import PUBLISHED
from rfaconv.bench.sides import LAYERS

Layer = Callable[[int, int, int], nn.Module]


def with_timm() -> bool:
    """Whether the networks are those of timm."""
    return find_spec("timm") is not None


class Block(nn.Module):
    """Two convolutions and a shortcut, the first convolution as given: (B, C, H, W)."""

    def __init__(self, channels: int, outputs: int, stride: int, first: Layer) -> None:
        super().__init__()
        self.conv1 = first(channels, outputs, stride)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        same = stride == 1 and channels == outputs
        short = nn.Conv2d(channels, outputs, 1, stride, bias=False)
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Sequential(short, nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, Ho, Wo)."""
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        result: Tensor = self.act(y + self.shortcut(x))
        return result


def resnet18(side: str, operator: str, classes: int) -> nn.Sequential:
    """The network with the first convolution of every block as the side has it.

    Args:
        side: ``conv``, ``published``, ``reference`` or ``fused``.
        operator: ``rfa``, ``rfcbam`` or ``rfca``.
        classes: Outputs.
    """

    def first(channels: int, outputs: int, stride: int) -> nn.Module:
        if side == "conv":
            return nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        if side == "published":
            published: nn.Module = PUBLISHED[operator](channels, outputs, 3, stride)
            return published
        more: dict[str, Any] = {"bias": False, "backend": "auto"}
        if side == "reference":
            more["backend"] = "reference"
        ours: nn.Module = LAYERS[operator](channels, outputs, 3, stride, **more)
        return ours

    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    parts: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for outputs in (64, 128, 256, 512):
        for stride in (1 if outputs == 64 else 2, 1):
            parts.append(Block(channels, outputs, stride, first))
            channels = outputs
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    return nn.Sequential(*parts)
