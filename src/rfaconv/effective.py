"""The kernel that each window really sees, and how far neighbouring windows share it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional._arguments import as_batch, fitted
from rfaconv.geometry import Window
from rfaconv.nn import CAM, CAConv2d, CAMConv2d, CBAMConv2d, CoordinateAttention
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.reference.features import pad, tap_slice


@dataclass(frozen=True)
class EffectiveKernels:
    """Gates and weight of a layer on one input.

    Attributes:
        gate: the attention of every tap of every window (B, C, T, *out).
        weight: the final weight (O, C/groups, *kernel).
        groups: groups of the final convolution.
        sharing: fraction, in [0, 1], of the pairs of overlapping windows whose gates for the
            input pixel that both see are equal. 1 for every attention map over pixels (the
            paper's "A12 = A21, A13 = A22, ..."), near 0 for receptive-field attention.
        difference: mean absolute difference of the two gates of such a pair, divided by the mean
            absolute gate.
    """

    gate: Tensor
    weight: Tensor
    groups: int
    sharing: float
    difference: float

    @property
    def kernels(self) -> Tensor:
        """The kernel ``a * K`` of every window: (B, *out, O, C/groups, *kernel).

        Its size is that of the output times that of one kernel: meant for small inputs.
        """
        out_channels, per_group, *kernel = self.weight.shape
        gate = self.gate.to(self.weight.dtype).movedim((1, 2), (-2, -1))  # (B, *out, C, T)
        gate = torch.unflatten(gate, -2, (self.groups, 1, per_group))
        matrix = self.weight.reshape(self.groups, out_channels // self.groups, per_group, -1)
        return torch.unflatten((gate * matrix).flatten(-4, -3), -1, kernel)


def effective_kernels(module: nn.Module, x: Tensor, tolerance: float = 1e-5) -> EffectiveKernels:
    """Returns the kernel ``a * K`` of every window of ``module`` on ``x``, and its sharing.

    A convolution computes ``F_n = sum_s X_{n,s} K_s``: one kernel for all windows n. An attention
    map A over pixels in front of it gives ``F_n = sum_s X_{n,s} A_{n,s} K_s``, but A_{n,s} belongs
    to the pixel that tap s of window n sees, and overlapping windows see the same pixels: their
    gates are shared. Attention over the receptive-field feature gives each window gates of its
    own. (For these operators the kernel acts on the features, not on the pixels.)

    Args:
        module: a convolution, or one of the operators rfa, rfcbam, rfca, cam, cbam, ca, with two
            spatial dimensions (rfa, rfcbam and rfca with one to three).
        x: input (B, C, *size). The layer is used as it is, in training or evaluation mode, and
            its running statistics are left alone.
        tolerance: gates count as equal up to this fraction of the largest gate.

    Returns:
        Gates, weight, sharing and difference. Without overlapping windows both measures are 0.

    Raises:
        InvalidArgument: if the module is none of these, or the input does not fit.

    Example:
        >>> from rfaconv import RFAConv2d
        >>> from rfaconv.nn import CBAMConv2d
        >>> x = torch.randn(1, 4, 8, 7)
        >>> effective_kernels(CBAMConv2d(4, 6, 3), x).sharing
        1.0
        >>> effective_kernels(RFAConv2d(4, 6, 3), x).sharing < 0.1
        True

    Source: paper, sections 3.1 and 3.2, equations 1 to 4.
    """
    if not isinstance(module, nn.modules.conv._ConvNd) or module.transposed:
        raise InvalidArgument(
            "module", "a convolution or one of the operators", type(module).__name__
        )
    with torch.no_grad():
        gate, window, size = _gate(module, x)
        sharing, difference = _sharing(gate, window, size, tolerance)
    return EffectiveKernels(gate, module.weight.detach(), module.groups, sharing, difference)


def layer_gates(module: nn.Conv2d, x: Tensor) -> Tensor:
    """The ``gate`` of :func:`effective_kernels` alone, which is found much sooner.

    Example:
        >>> from rfaconv import RFAConv2d
        >>> layer_gates(RFAConv2d(4, 6, 3), torch.randn(1, 4, 8, 7)).shape
        torch.Size([1, 4, 9, 8, 7])
    """
    with torch.no_grad():
        return _gate(module, x)[0]


def _gate(module: nn.modules.conv._ConvNd, x: Tensor) -> tuple[Tensor, Window, tuple[int, ...]]:
    if isinstance(module, ReceptiveFieldConv):
        buffers = {name: value.clone() for name, value in module.named_buffers()}
        geometry = module.in_channels, module.window, module.groups
        x = as_batch(fitted(x, module.weight, module.bias, *geometry), module.window)
        field = module.features(x)
        gate = module._gates(x, field)
        for name, value in module.named_buffers():
            value.copy_(buffers[name])
        return gate, field.window, tuple(field.x.shape[2:])
    window = Window.create(
        module.kernel_size, module.stride, module.padding, module.dilation,
        dims=len(module.kernel_size),
    )  # fmt: skip
    attention = getattr(module, "attention", None)
    if isinstance(module, CAMConv2d | CBAMConv2d | CAConv2d):
        assert isinstance(attention, CAM | CoordinateAttention)
        buffers = {name: value.clone() for name, value in attention.named_buffers()}
        values = attention.gate_map(x)
        for name, value in attention.named_buffers():
            value.copy_(buffers[name])
    else:
        values = torch.ones_like(x)
    padded = pad(values, window)
    taps = [padded[tap_slice(index, window)] for index in window.tap_indices()]
    return torch.stack(taps, dim=2), window, tuple(x.shape[2:])


def _sharing(
    gate: Tensor, window: Window, size: tuple[int, ...], tolerance: float
) -> tuple[float, float]:
    out = tuple(gate.shape[3:])
    limit = tolerance * float(gate.abs().max()) if gate.numel() else 0.0
    pairs, equal, total = 0, 0, 0.0
    inside = _inside(window, size, gate.device)
    indices = list(window.tap_indices())
    for first, second in combinations(range(window.taps), 2):
        # window p + step sees with its second tap the pixel that window p sees with its first
        steps = []
        for i, j, d, s in zip(
            indices[first], indices[second], window.dilation, window.stride, strict=True
        ):
            steps.append(((i - j) * d) / s)
        if not all(step.is_integer() for step in steps):
            continue
        shift = [int(step) for step in steps]
        here = [slice(max(0, -t), n - max(0, t)) for t, n in zip(shift, out, strict=True)]
        there = [slice(max(0, t), n + min(0, t)) for t, n in zip(shift, out, strict=True)]
        if any(s.stop <= s.start for s in here):
            continue
        one = gate[:, :, first][(slice(None), slice(None), *here)]
        other = gate[:, :, second][(slice(None), slice(None), *there)]
        mask = inside[first][tuple(here)].expand(one.shape)
        gap = (one - other).abs()[mask]
        pairs += gap.numel()
        equal += int((gap <= limit).sum())
        total += float(gap.sum(dtype=torch.float64))
    if not pairs:
        return 0.0, 0.0
    return equal / pairs, total / pairs / max(float(gate.abs().mean()), 1e-300)


def _inside(window: Window, size: tuple[int, ...], device: torch.device) -> Tensor:
    """Whether each tap of each window sees a pixel of the map and not padding: (T, *out)."""
    ones = torch.ones(1, 1, *size, device=device)
    padded = pad(ones, window)
    taps = [padded[tap_slice(index, window)][0, 0] for index in window.tap_indices()]
    return torch.stack(taps) > 0


def operator_layers(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The operators with two spatial dimensions in a network, by their names, in its order.

    Example:
        >>> from rfaconv import RFAConv2d
        >>> list(operator_layers(nn.Sequential(nn.ReLU(), RFAConv2d(4, 6, 3))))
        ['1']
    """
    kinds = (ReceptiveFieldConv, CAMConv2d, CBAMConv2d, CAConv2d)
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, kinds) and isinstance(module, nn.Conv2d)
    }


def pixel_gates(gate: Tensor, layer: nn.Conv2d, size: tuple[int, ...]) -> Tensor:
    """Mean gate that every pixel of a layer's input meets, over channels and windows that see it.

    ``g(q) = mean over c and over (p, j) with pixel(p, j) = q of a[c, j, p]``, divided by its mean
    over the image. A pixel that no window sees has 1.

    Args:
        gate: attention of every tap of every window (B, C, T, Ho, Wo).
        layer: the layer, for its window.
        size: height and width of its input.

    Returns:
        (B, H, W).
    """
    window = Window.create(layer.kernel_size, layer.stride, layer.padding, layer.dilation, dims=2)
    batch = gate.shape[0]
    places = torch.arange(size[0] * size[1], device=gate.device).reshape(1, 1, *size) + 1
    padded = pad(places.double(), window).long()
    taps = [padded[tap_slice(index, window)].flatten() for index in window.tap_indices()]
    where = torch.stack(taps).flatten()
    values = gate.mean(1).double().reshape(batch, -1)
    total = values.new_zeros(batch, size[0] * size[1] + 1).index_add_(1, where, values)
    count = values.new_zeros(size[0] * size[1] + 1).index_add_(0, where, torch.ones_like(values[0]))
    mean = (total / count.clamp_min(1))[:, 1:].reshape(batch, *size)
    seen = (count[1:] > 0).reshape(size)
    mean = mean / (mean * seen).sum((1, 2), keepdim=True).clamp_min(1e-30) * seen.sum()
    return torch.where(seen, mean, torch.ones_like(mean)).to(gate.dtype)
