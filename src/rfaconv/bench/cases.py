"""What is measured: named layers and networks, as data."""

from __future__ import annotations

from dataclasses import dataclass

from rfaconv.errors import InvalidArgument, unknown_name

__all__ = ["SIDES", "SUITES", "BenchCase", "parse_suite"]

SIDES = ("conv", "published", "compiled", "reference", "fused", "onnxruntime", "openvino")
"""conv: Conv2d + BatchNorm + ReLU. published: the literal formulation. compiled: torch.compile of
it. reference: the formulas in plain torch. fused: the kernels. The last two run the published
graph, inference only."""


@dataclass(frozen=True)
class BenchCase:
    """A layer, or a whole network.

    Attributes:
        name: Shown in reports, such as ``resnet18.layer2.0``.
        in_channels: C; 3 for a network.
        out_channels: O; classes for a network.
        size: Height and width of the input, in pixels.
        kernel: Kernel size, in pixels; unused for a network.
        stride: Stride, in pixels; unused for a network.
        network: Name of the plain network, or empty for a layer.
    """

    name: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 3
    stride: int = 1
    network: str = ""

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the plain convolution per image."""
        out = -(-self.size // self.stride)
        return out * out * self.kernel**2 * self.in_channels * self.out_channels

    @property
    def floor(self) -> float:
        """The arithmetic floor of RFAConv's inference time relative to the convolution.

        ``1 + 190 / (9 O)`` for a 3x3 kernel: per input channel and output pixel the convolution
        needs ``9 O`` multiply-adds, features and softmax about 190 vector instructions more.
        """
        return 1.0 + 190.0 / (9.0 * self.out_channels)


def _resnet18() -> tuple[BenchCase, ...]:
    cases = []
    for stage, (channels, size) in enumerate([(64, 56), (128, 28), (256, 14), (512, 7)], 1):
        first = channels if stage == 1 else channels // 2
        stride = 1 if stage == 1 else 2
        cases += [
            BenchCase(f"resnet18.layer{stage}.0", first, channels, size * stride, 3, stride),
            BenchCase(f"resnet18.layer{stage}.1", channels, channels, size),
        ]
    return tuple(cases)


def _yolov8n() -> tuple[BenchCase, ...]:
    positions = [
        (1, 16, 32, 320),
        (3, 32, 64, 160),
        (5, 64, 128, 80),
        (7, 128, 256, 40),
        (16, 64, 64, 80),
        (19, 128, 128, 40),
    ]
    return tuple(BenchCase(f"yolov8n.{i}", c, o, size, 3, 2) for i, c, o, size in positions)


SUITES: dict[str, tuple[BenchCase, ...]] = {
    "resnet18": _resnet18(),
    "yolov8n": _yolov8n(),
    "networks": (BenchCase("resnet18 at 224", 3, 1000, 224, network="resnet18"),),
}
"""``resnet18``: the eight conv1 of ResNet-18 at 224; ``yolov8n``: the six positions of the paper in
YOLOv8n at 640; ``networks``: whole networks."""


def parse_suite(text: str) -> tuple[BenchCase, ...]:
    """The cases of a suite's name, or of ``layer:C,O,H,k,s``.

    Raises:
        InvalidArgument: it is neither.

    Example:
        >>> parse_suite("layer:64,128,56,3,2")[0].stride
        2
    """
    if text in SUITES:
        return SUITES[text]
    kind, _, numbers = text.partition(":")
    if kind != "layer":
        raise unknown_name("suite", text, (*SUITES, "layer:C,O,H,k,s"))
    try:
        values = [int(word) for word in numbers.split(",")]
    except ValueError:
        values = []
    if len(values) != 5 or min(values) < 1:
        raise InvalidArgument("suite", "layer: and five positive integers C,O,H,k,s", repr(text))
    c, o, size, k, stride = values
    return (BenchCase(text, c, o, size, k, stride),)
