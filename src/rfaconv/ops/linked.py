"""Statistics, gates and projection of rfcbam and rfca with one backward pass from features to x.

Statistics and projection differentiate through the same features. Apart, each makes them again and
goes from their gradient to x, which is most of a training step. Linked, the projection's backward
pass makes the gradients of the panel and of the gates, autograd takes those of the gates through
the operations that made them, and one scan does the rest for both.

Only in eager mode, and only where autograd has recorded nothing between statistics and gates but
operations of torch and of this library on them and on parameters. All others take the operations
one by one, and so do derivatives that are themselves recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from rfaconv.geometry import Window
from rfaconv.ops.schema import define, fake, like, lines, weight_like

__all__ = ["DEFINITIONS", "LARGEST", "linked_project"]

_FEATURES = "Tensor x, Tensor feature_weight, Tensor feature_bias"

DEFINITIONS: dict[str, str] = {
    # dpanel (B, Ho, Wo, T, C) in the dtype of x; of the two gates of rfcbam the first comes back
    # empty
    "project_linked_backward": (
        f"(Tensor dy, {_FEATURES}, Tensor[] gate, Tensor weight, str variant, int[] window, "
        "str backend) -> (Tensor dpanel, Tensor dweight, Tensor[] dgate)"
    ),
    # s0 is read, and dchannel given, for rfcbam alone
    "feature_stats_linked_backward": (
        f"(Tensor d0, Tensor d1, Tensor dpanel, Tensor[] gate, {_FEATURES}, Tensor s0, "
        "str variant, int[] window, str backend) -> "
        "(Tensor dx, Tensor dfeature_weight, Tensor dfeature_bias, Tensor dchannel)"
    ),
}

define(DEFINITIONS)

LARGEST = 512 * 2**20
"""Bytes that the gradient of the panel of all images may take."""


@fake("project_linked_backward")
def _project_linked_backward(
    dy: Tensor, x: Tensor, feature_weight: Tensor, feature_bias: Tensor, gate: Sequence[Tensor],
    weight: Tensor, variant: str, window: Sequence[int], backend: str,
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    win = Window.from_ints(window)
    shape = (x.size(0), *win.output_size((x.size(2), x.size(3))), win.taps, x.size(1))
    if variant == "rfcbam":
        gates = [x.new_empty((0,)), gate[1].new_empty(gate[1].shape)]
    else:
        gates = [lines(g, g.shape, backend) for g in gate]
    return x.new_empty(shape), weight_like(weight, backend), gates


@fake("feature_stats_linked_backward")
def _feature_stats_linked_backward(
    d0: Tensor, d1: Tensor, dpanel: Tensor, gate: Sequence[Tensor], x: Tensor,
    feature_weight: Tensor, feature_bias: Tensor, s0: Tensor, variant: str, window: Sequence[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    shape = gate[0].shape if variant == "rfcbam" else (0,)
    return (
        like(x),
        feature_weight.new_empty(feature_weight.shape),
        feature_bias.new_empty(feature_bias.shape),
        gate[0].new_empty(shape),
    )


_OPS = torch.ops.rfaconv
_STATS = "GeneratedBackwardFor_rfaconv_feature_stats_default"
_OWN = "GeneratedBackwardFor_rfaconv_"


class _Made(NamedTuple):
    """What autograd has recorded between statistics and gates: the node of the statistics, and the
    parameters.
    """

    stats: Node
    parameters: tuple[Tensor, ...]


def linked_project(
    x: Tensor,
    feature_weight: Tensor,
    feature_bias: Tensor,
    gate: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    variant: str,
    window: Sequence[int],
    backend: str,
) -> Tensor | None:
    """The projection of ``rfaconv::project``, or None where it cannot be linked to the statistics
    that its gates were made from.
    """
    if variant not in ("rfcbam", "rfca") or not torch.is_grad_enabled() or _traced():
        return None
    # of the gradient of the panel: a pixel gate has those of one channel, lines one of two factors
    other = x.size(1) if variant == "rfcbam" else gate[0].size(2)
    entries = gate[1].numel() * other
    if not 0 < entries * x.element_size() <= LARGEST:
        return None
    own = gate[1:] if variant == "rfcbam" else gate
    made = _made(own)
    if made is None or not _same_features(made.stats, (x, feature_weight, feature_bias)):
        return None
    y: Tensor = _Linked.apply(
        own, made, (variant, list(window), backend), x, feature_weight, feature_bias, weight, bias,
        gate[0] if variant == "rfcbam" else None, *made.parameters,
    )  # fmt: skip
    return y


def _traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _made(gates: Sequence[Tensor]) -> _Made | None:
    """Walks what autograd has recorded, from the gates back to one node of statistics."""
    stats: Node | None = None
    found: dict[int, Tensor] = {}
    pending = [g.grad_fn for g in gates]
    seen: set[Node] = set()
    inner: list[Node] = []
    while pending:
        node = pending.pop()
        if node is None:
            return None
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            if not _plain_leaf(variable):
                return None
            found[id(variable)] = variable
            continue
        name = node.name()
        if name.startswith(_STATS):
            if stats not in (None, node):
                return None
            stats = node
            continue
        # another function in Python may be a hook's, which counts on being run by its own graph
        if isinstance(node, torch.autograd.function.BackwardCFunction) and not (
            name.startswith(_OWN)
        ):
            return None
        inner.append(node)
        # an operand without a gradient has no node
        pending += [n for n, _ in node.next_functions if n is not None]
    if stats is None:
        return None
    first = stats._sequence_nr()
    # what was recorded before the statistics belongs to something else as well
    if any(node._sequence_nr() < first for node in inner):
        return None
    return _Made(stats, tuple(found.values()))


def _plain_leaf(variable: Tensor) -> bool:
    """Whether it is a parameter whose gradient nobody but autograd touches: a hook would see it
    twice.
    """
    hooks = variable._backward_hooks or getattr(variable, "_post_accumulate_grad_hooks", None)
    return type(variable) is nn.Parameter and not hooks


def _same_features(stats: Any, features: Sequence[Tensor]) -> bool:
    """Whether the statistics are of these features."""
    saved = stats.saved_tensors[:3]
    return all(
        a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride()
        and a.grad_fn is b.grad_fn
        for a, b in zip(saved, features, strict=True)
    )  # fmt: skip


class _Linked(torch.autograd.Function):
    """``y = K (f * a) + bias`` with the gradients of features, gates and their parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Sequence[Tensor],
        made: _Made,
        options: tuple[str, list[int], str],
        x: Tensor,
        feature_weight: Tensor,
        feature_bias: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        channel: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        """Runs the projection."""
        variant, window, backend = options
        ctx.made, ctx.options, ctx.with_bias = made, options, bias is not None
        given = [*([] if channel is None else [channel]), *(g.detach() for g in gates)]
        # with what autograd has recorded of the gates
        ctx.save_for_backward(x, feature_weight, feature_bias, weight, channel, *gates)
        y: Tensor = _OPS.project(
            x, feature_weight, feature_bias, given, weight, bias, variant, 1, window, backend
        )
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients of all tensors."""
        (dy,) = grads
        x, feature_weight, feature_bias, weight, channel, *gates = ctx.saved_tensors
        variant, window, backend = ctx.options
        features, made = (x, feature_weight, feature_bias), ctx.made
        first = [] if channel is None else [channel]
        d_bias = dy.sum((0, 2, 3)) if ctx.with_bias else None
        if torch.is_grad_enabled():
            operands = [*features, weight, channel, *made.parameters]
            dx, d_fw, d_fb, d_weight, *others = _recorded(ctx.options, dy, gates, operands)
            return None, None, None, dx, d_fw, d_fb, d_weight, d_bias, *others
        given = [*first, *(g.detach() for g in gates)]
        d_panel, d_weight, d_gates = _OPS.project_linked_backward(
            dy, *features, given, weight, variant, window, backend
        )
        edges = [GradientEdge(made.stats, 0), GradientEdge(made.stats, 1)]
        # the graph is kept as long as this node, which may be asked again
        d0, d1, *d_parameters = torch.autograd.grad(
            gates, [*edges, *made.parameters], d_gates[len(first) :], retain_graph=True,
            allow_unused=True,
        )  # fmt: skip
        saved = made.stats.saved_tensors
        s0 = saved[3] if variant == "rfcbam" else saved[2]
        shapes = _zeros_like_stats(gates)
        d0, d1 = (z if d is None else d for d, z in zip((d0, d1), shapes, strict=True))
        dx, d_fw, d_fb, d_channel = _OPS.feature_stats_linked_backward(
            d0, d1, d_panel, given, *features, s0, variant, window, backend
        )
        return (
            None, None, None, dx, d_fw, d_fb, d_weight, d_bias,
            d_channel if first else None, *d_parameters,
        )  # fmt: skip


def _zeros_like_stats(gates: Sequence[Tensor]) -> list[Tensor]:
    """Zeros in the shapes of both statistics: those of the gates made from them."""
    return [torch.zeros_like(g, dtype=torch.float32) for g in (gates[0], gates[-1])]


def _recorded(
    options: tuple[str, list[int], str],
    dy: Tensor,
    gates: Sequence[Tensor],
    operands: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The same gradients as operations that autograd records: those of the separate ones."""
    variant, window, backend = options
    x, feature_weight, feature_bias, weight, channel = operands[:5]
    gate = [*([] if channel is None else [channel]), *gates]
    with torch.enable_grad():
        y = _OPS.project(
            x, feature_weight, feature_bias, gate, weight, None, variant, 1, window, backend
        )
    wanted = [v for v in operands if v is not None and v.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True, allow_unused=True))
    return [next(found) if v is not None and v.requires_grad else None for v in operands]
