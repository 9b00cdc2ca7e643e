"""The layers, blocks and heads that model YAMLs may name.

A row ``[-1, 1, RFAConv, [128, 3, 2]]`` is ultralytics' Conv with the operator as its convolution:
operator, BatchNorm, the network's own activation. ``C2f_RFA`` is ultralytics' C2f with the operator
as the second convolution of every bottleneck, ``Detect_RFA`` ultralytics' Detect with the operator
in its convolution towers; both exist for every operator and for the blocks and heads of
``names.BLOCK_NAMES`` and ``names.HEAD_NAMES``. All arguments are those of the original.

Checkpoints name these classes under ``rfaconv.integrations.ultralytics.layers``, whose import
registers them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn
from ultralytics.nn import modules
from ultralytics.nn.modules import Bottleneck, Conv
from ultralytics.nn.modules.conv import autopad

from rfaconv.integrations.ultralytics.names import (
    BLOCK_NAMES,
    FEATURES,
    HEAD_NAMES,
    LAYER_NAMES,
)
from rfaconv.nn import CONVOLUTIONS
from rfaconv.nn._feature import FeatureConv2d
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.variants import OPERATORS

KINDS = {**CONVOLUTIONS, "features": FeatureConv2d}
HOME = "rfaconv.integrations.ultralytics.layers"


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
        padding = autopad(k, p, d) if p is None else p  # type: ignore[no-untyped-call]
        kernel, stride, padding = (tuple(v) if isinstance(v, list) else v for v in (k, s, padding))
        conv = KINDS[self.operator](c1, c2, kernel, stride, padding, d, g, True)
        super().__init__(c1, c2, 1, 1, act=act)  # type: ignore[no-untyped-call]
        self.conv = conv

    def put_operator(self, act: nn.Module | None = None) -> int:
        """Puts an operator with new weights in the place of a plain convolution; returns 1.

        Args:
            act: the activation behind it; None for the one that is there.
        """
        old = self.conv
        self.conv = KINDS[self.operator](
            old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding,
            old.dilation, old.groups, True,
        )  # fmt: skip
        self.act = self.act if act is None else act
        return 1

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        # fuse() of ultralytics ends with deleting the norm that it folded: the inner one is next
        if name == "bn" and isinstance(self.conv, ReceptiveFieldConv):
            self.conv.fuse()
            self.conv.requires_grad_(False)


def become(module: nn.Module, kind: Any, act: nn.Module | None = None) -> int:
    """Makes a module of ultralytics one of :data:`MODULES`, in place, with new weights.

    Returns:
        How many convolutions became operators.
    """
    module.__class__ = kind
    count: int = kind.put_operator(module, act)
    return count


def bottleneck_convs(block: nn.Module) -> Iterator[nn.Module]:
    """The second convolution of every bottleneck of a block."""
    for module in block.modules():
        if isinstance(module, Bottleneck):
            yield module.cv2


def tower_convs(head: nn.Module) -> Iterator[nn.Module]:
    """The full 3x3 convolutions of a head's towers; those by channels and 1x1 stay.

    The towers of ultralytics are lists ``cv2`` (boxes), ``cv3`` (classes) and ``cv4`` (masks,
    keypoints, angles), and from YOLO26 on a copy ``one2one_...`` of each.
    """
    for tower in head.children():
        if isinstance(tower, nn.ModuleList):
            yield from (m for m in tower.modules() if isinstance(m, Conv) and _full(m.conv))


def _full(conv: Any) -> bool:
    return bool(conv.groups == 1 and max(conv.kernel_size) > 1)


class _Composed(nn.Module):
    """Mixed into a block or head of ultralytics whose convolutions become an operator."""

    layer: ClassVar[type[OperatorConv]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.put_operator()

    def put_operator(self, act: nn.Module | None = None) -> int:
        """Replaces the convolutions and returns how many there were.

        Args:
            act: the activation behind them; None for that of the original.
        """
        raise NotImplementedError

    def _replace(self, places: Iterator[nn.Module], act: nn.Module | None) -> int:
        found = [conv for conv in places if type(conv) is Conv]
        for conv in found:
            become(conv, self.layer, act)
        return len(found)


class _Block(_Composed):
    def put_operator(self, act: nn.Module | None = None) -> int:
        return self._replace(bottleneck_convs(self), act)


class _Head(_Composed):
    def put_operator(self, act: nn.Module | None = None) -> int:
        count = self._replace(tower_convs(self), act)
        for name, tower in list(self.named_children()):
            original = self._modules.get(name.removeprefix("one2one_"))
            if name.startswith("one2one_") and original is not None and tower is not None:
                # the copies start equal, as in the original
                self.add_module(name, copy.deepcopy(original))
        return count


def _make_layer(operator: str) -> type[OperatorConv]:
    body = {"operator": operator, "__module__": HOME, "__doc__": OperatorConv.__doc__}
    return type(LAYER_NAMES.get(operator, FEATURES), (OperatorConv,), body)


def _make(mixin: type[_Composed], original: type[nn.Module], operator: str) -> type[_Composed]:
    name = f"{original.__name__}_{operator.upper()}"
    place = "bottlenecks" if mixin is _Block else "towers"
    text = f"ultralytics' {original.__name__} with {LAYER_NAMES[operator]} in its {place}."
    body = {"layer": LAYERS[operator], "__module__": HOME, "__doc__": text}
    return type(name, (mixin, original), body)


def _all(mixin: type[_Composed], names: tuple[str, ...]) -> dict[str, type[_Composed]]:
    # older versions of ultralytics have fewer heads
    sources = {**vars(modules), **vars(modules.head)}
    kinds = [sources[name] for name in names if name in sources]
    made = [_make(mixin, kind, operator) for operator in OPERATORS for kind in kinds]
    return {kind.__name__: kind for kind in made}


LAYERS: dict[str, type[OperatorConv]] = {name: _make_layer(name) for name in OPERATORS}
"""The layer of every operator."""

BLOCKS: dict[str, type[_Composed]] = _all(_Block, BLOCK_NAMES)
"""The blocks by their names."""

HEADS: dict[str, type[_Composed]] = _all(_Head, HEAD_NAMES)
"""The heads by their names."""

MODULES: dict[str, type[nn.Module]] = {
    **{kind.__name__: kind for kind in LAYERS.values()},
    FEATURES: _make_layer("features"),
    **BLOCKS,
    **HEADS,
}
"""Everything that a model YAML may name, by its own name."""
