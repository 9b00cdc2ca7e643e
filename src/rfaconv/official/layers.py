"""Builds the layer that a published state dict describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import (
    SE,
    CAConv2d,
    CAMConv2d,
    CBAMConv2d,
    ConvNormAct,
    RFAConv2d,
    RFCAConv2d,
    RFCBAMConv2d,
    UnfoldRFAConv2d,
)

State = Mapping[str, Tensor]
# the key that only this layer has; the first that is found decides
_KINDS: tuple[tuple[str, str], ...] = (
    ("generate_feature.0.weight", "rfa"),
    ("get_weights.0.weight", "unfold"),
    ("get_weight.0.weight", "rfcbam"),
    ("generate.0.weight", "rfca"),
    ("spatital.weight", "cbam"),
    ("mlp.0.weight", "cam"),
    ("conv_h.weight", "ca"),
)


def clean_keys(state: State) -> dict[str, Tensor]:
    """Strips ``module.`` of DataParallel and drops the counters that thop leaves behind."""
    return {
        key.removeprefix("module."): value
        for key, value in state.items()
        if not key.endswith(("total_ops", "total_params"))
    }


def from_state_dict(state: State, stride: int | tuple[int, int] = 1) -> nn.Module:
    """Builds and loads the published layer that the keys of ``state`` describe.

    All eight published kinds are known: RFAConv by grouped convolution and by Unfold, RFCBAMConv,
    RFCAConv, CAMConv, CBAMConv, CAConv, each bare or, where the state holds its BatchNorm, with
    BatchNorm and ReLU behind it.

    Args:
        state: published key names to tensors; ``module.`` prefixes and thop's counters may stand
            among them.
        stride: step of the window, in pixels: the one thing that a state does not tell.

    Returns:
        The operator, or a :class:`rfaconv.nn.ConvNormAct` around it; in training mode, with the
        dtype and device of the state.

    Raises:
        InvalidArgument: if the keys describe no published layer.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm2d(36).state_dict()
        >>> published = {
        ...     "get_weight.1.weight": torch.randn(36, 1, 1, 1),
        ...     "generate_feature.0.weight": torch.randn(36, 1, 3, 3),
        ...     **{f"generate_feature.1.{key}": value for key, value in norm.items()},
        ...     "conv.0.weight": torch.randn(8, 4, 3, 3),
        ...     "conv.0.bias": torch.randn(8),
        ... }
        >>> from_state_dict(published, stride=2)(torch.randn(1, 4, 9, 8)).shape
        torch.Size([1, 8, 5, 4])

    Source: the layouts of the authors' published code.
    """
    keys = clean_keys(state)
    kind = next((kind for key, kind in _KINDS if key in keys), None)
    weight = keys.get("conv.weight" if kind == "unfold" else "conv.0.weight")
    if kind is None or weight is None or weight.dim() != 4:
        shown = ", ".join(list(keys)[:5]) or "no keys"
        raise InvalidArgument("state", "the keys of a published RFAConv layer", shown)
    out_channels, channels, *kernel = weight.shape
    common = {
        "stride": stride,
        "padding": tuple(k // 2 for k in kernel),
        "bias": ("conv.bias" if kind == "unfold" else "conv.0.bias") in keys,
        "device": weight.device,
        "dtype": weight.dtype,
    }
    layer = _BUILDERS[kind](keys, (channels, out_channels, tuple(kernel)), common)
    if "conv.1.weight" in keys or "bn.weight" in keys:
        layer = ConvNormAct(layer)
    try:
        layer.load_state_dict(keys)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise InvalidArgument("state", f"a complete state of {kind}", text) from error
    return layer


def _rfcbam(keys: State, shape: tuple[Any, ...], common: dict[str, Any]) -> nn.Module:
    layer = RFCBAMConv2d(*shape, **common)
    reduce = next((keys[k] for k in ("se.fc.0.weight", "cam.fc.0.weight") if k in keys), None)
    if reduce is not None and reduce.shape[0] != 16:
        layer.se = SE(shape[0], reduce.shape[0], device=common["device"], dtype=common["dtype"])
    return layer


def _reduction(channels: int, hidden: int) -> int:
    # the smallest hidden width stands for every larger reduction
    return max(1, channels // hidden)


def _cam(keys: State, shape: tuple[Any, ...], common: dict[str, Any]) -> nn.Module:
    return CAMConv2d(*shape, **common, reduction=_reduction(shape[0], len(keys["mlp.0.weight"])))


def _cbam(keys: State, shape: tuple[Any, ...], common: dict[str, Any]) -> nn.Module:
    reduction = _reduction(shape[0], len(keys["mlp.0.weight"]))
    kernel = keys["spatital.weight"].shape[-1]
    return CBAMConv2d(*shape, **common, reduction=reduction, spatial_kernel_size=kernel)


def _ca(keys: State, shape: tuple[Any, ...], common: dict[str, Any]) -> nn.Module:
    return CAConv2d(*shape, **common, reduction=_reduction(shape[0], len(keys["conv1.weight"])))


def _rfca(keys: State, shape: tuple[Any, ...], common: dict[str, Any]) -> nn.Module:
    layer = RFCAConv2d(*shape, **common)
    hidden = len(keys["conv1.weight"])
    if hidden != layer.attention.conv1.out_channels:
        raise InvalidArgument(
            "state", f"conv1 with {layer.attention.conv1.out_channels} output channels", hidden
        )
    return layer


_BUILDERS: dict[str, Callable[[State, tuple[Any, ...], dict[str, Any]], nn.Module]] = {
    "rfa": lambda keys, shape, common: RFAConv2d(*shape, **common),
    "unfold": lambda keys, shape, common: UnfoldRFAConv2d(*shape, **common),
    "rfcbam": _rfcbam,
    "rfca": _rfca,
    "cam": _cam,
    "cbam": _cbam,
    "ca": _ca,
}
