"""The layers that model YAMLs of ultralytics may name; importing this module registers them.

A row ``[-1, 1, RFAConv, [128, 3, 2]]`` is ultralytics' Conv with the operator as its convolution:
operator, BatchNorm, the network's own activation. ``C3_RFA``, ``C2f_RFA`` and ``C3k2_RFA`` are
ultralytics' blocks with the operator as the second convolution of every bottleneck; the same blocks
exist for every other operator (``C2f_RFCBAM``, ...). All arguments are those of the original.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from ultralytics.nn.modules import C3, Bottleneck, C2f, C3k2, Conv
from ultralytics.nn.modules.conv import autopad

from rfaconv.nn import CONVOLUTIONS
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.variants import OPERATORS

LAYER_NAMES = {
    "rfa": "RFAConv",
    "rfcbam": "RFCBAMConv",
    "rfca": "RFCAConv",
    "cam": "CAMConv",
    "cbam": "CBAMConv",
    "ca": "CAConv",
}
"""The name of every operator in a model YAML."""


class OperatorConv(Conv):
    """ultralytics' Conv with an operator as its convolution.

    The convolution has a bias although a BatchNorm follows, as published; so parameters count as
    published and a converted network's bias has a place.

    Args:
        c1: input channels.
        c2: output channels.
        k: kernel size, in pixels.
        s: stride, in pixels.
        p: padding, in pixels; None keeps the size at stride 1.
        g: groups.
        d: dilation, in pixels.
        act: True for the network's activation, False for none, or a module.

    Shape: (B, c1, H, W) to (B, c2, Ho, Wo).

    Raises:
        InvalidArgument: for an argument that does not fit; it is named.
    """

    operator: ClassVar[str]

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Any = 3,
        s: Any = 1,
        p: Any = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
    ) -> None:
        padding = autopad(k, p, d)  # type: ignore[no-untyped-call]
        padding = tuple(padding) if isinstance(padding, list) else padding
        kernel = tuple(k) if isinstance(k, list) else k
        conv = CONVOLUTIONS[self.operator](c1, c2, kernel, s, padding, d, g, True)
        super().__init__(c1, c2, 1, 1, act=act)  # type: ignore[no-untyped-call]
        self.conv = conv

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        # fuse() of ultralytics ends with deleting the norm that it folded: the inner one is next
        if name == "bn" and isinstance(self.conv, ReceptiveFieldConv):
            self.conv.fuse()
            self.conv.requires_grad_(False)


class _OperatorBlock:
    """Mixed into a block of bottlenecks: the second convolution of each becomes an operator."""

    layer: ClassVar[type[OperatorConv]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert isinstance(self, nn.Module)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                old = module.cv2.conv
                module.cv2 = self.layer(
                    old.in_channels,
                    old.out_channels,
                    old.kernel_size,
                    old.stride,
                    old.padding,
                    old.groups,
                )


def _make_layer(operator: str) -> type[OperatorConv]:
    body = {"operator": operator, "__module__": __name__, "__doc__": OperatorConv.__doc__}
    return type(LAYER_NAMES[operator], (OperatorConv,), body)


def _make_block(original: type[nn.Module], operator: str) -> type[nn.Module]:
    name = f"{original.__name__}_{operator.upper()}"
    text = f"ultralytics' {original.__name__} with {LAYER_NAMES[operator]} in its bottlenecks."
    body = {"layer": LAYERS[operator], "__module__": __name__, "__doc__": text}
    return type(name, (_OperatorBlock, original), body)


LAYERS: dict[str, type[OperatorConv]] = {name: _make_layer(name) for name in OPERATORS}
"""The layer of every operator."""

BLOCKS: dict[str, type[nn.Module]] = {
    block.__name__: block
    for operator in OPERATORS
    for block in (_make_block(original, operator) for original in (C3, C2f, C3k2))
}
"""The blocks by their names."""

MODULES: dict[str, type[nn.Module]] = {**{t.__name__: t for t in LAYERS.values()}, **BLOCKS}
"""Everything that a model YAML may name."""

globals().update(MODULES)  # so that pickle finds them


def bring_operators(trainer: object) -> None:
    """A callback that does nothing.

    The processes of a multi-GPU training unpickle the callbacks, and so import this module.
    """


from rfaconv.integrations.ultralytics import hook  # noqa: E402  # needs what is defined above

hook.install()
