"""Concrete problems for parity checks: draws inputs and runs one op three ways, forward and every
named gradient.

The three ways are the fused op, plain torch in the same dtype, and the reference in float64; the
rule that judges them is :mod:`rfaconv.reference.parity`. Inputs are drawn away from the kinks of
ReLU and the ties of the maximum, where a gradient jumps and two right answers differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rfaconv import reference
from rfaconv.geometry import Problem, Window
from rfaconv.ops.linked import linked_project
from rfaconv.reference.features import accumulation_dtype, convolve
from rfaconv.reference.parity import Parity, compare

__all__ = ["Case", "draw", "evaluate", "parity"]

_SHORT = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16", torch.float64: "f64"}


@dataclass(frozen=True)
class Case:
    """One op on one shape.

    Attributes:
        op: ``patch_moments``, ``feature_stats``, ``project``, or ``linked`` for the last two with
            gates made from the statistics (rfcbam and rfca).
        variant: Gate; unused for ``patch_moments``.
        batch: B.
        channels: C.
        out_channels: O, of a projection.
        size: H and W.
        window: The sliding window.
        dtype: Of the map and the weight.
        device: Where the fused op runs.
        backend: Whose kernel runs it.
        channels_last: Memory format of the map.
        bias: Whether ``project`` has a bias.
        mean: Mean of the map.
        std: Standard deviation of the map.
        logits: Largest magnitude of the attention weights of rfa, in units of 1/mean|x|.
    """

    op: str = "project"
    variant: str = "rfa"
    batch: int = 2
    channels: int = 5
    out_channels: int = 7
    size: tuple[int, int] = (11, 9)
    window: Window = field(default_factory=lambda: Window.create(3))
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    backend: str = "cpu"
    channels_last: bool = False
    bias: bool = True
    mean: float = 0.0
    std: float = 1.0
    logits: float = 1.0

    def __str__(self) -> str:
        name = (
            "moments"
            if self.op == "patch_moments"
            else f"{self.op.removeprefix('feature_')}-{self.variant}"
        )
        height, width = self.size
        out = f"-O{self.out_channels}" if self.op in ("project", "linked") else ""
        layout = "-nhwc" if self.channels_last else ""
        shape = f"B{self.batch}-C{self.channels}{out}-{self.window}-{height}x{width}"
        text = f"{name}-{shape}-{_SHORT[self.dtype]}{layout}"
        return (
            text
            if (self.mean, self.std) == (0.0, 1.0)
            else f"{text}-mean{self.mean:g}-std{self.std:g}"
        )

    @property
    def problem(self) -> Problem:
        """What the dispatcher would be asked."""
        variant = "" if self.op == "patch_moments" else self.variant
        dtype = str(self.dtype).removeprefix("torch.")
        op = "feature_stats_linked_backward" if self.op == "linked" else self.op
        device = torch.device(self.device).type
        return Problem(op, variant, device, dtype, self.window, self.channels, self.out_channels)


Tensors = dict[str, Tensor]


def draw(case: Case, seed: int = 0) -> Tensors:
    """Draws the inputs and cotangents of a case, as float64 values that the case's dtypes hold
    exactly.
    """
    for attempt in range(100):
        generator = torch.Generator().manual_seed(1000 * seed + attempt)
        inputs = _draw_once(case, generator)
        maxima = case.op in ("feature_stats", "linked") and case.variant == "rfcbam"
        if not maxima or _no_ties(case, inputs):
            return inputs
    raise RuntimeError(f"{case}: found no inputs without near ties of the maximum in 100 draws")


def _draw_once(case: Case, generator: torch.Generator) -> Tensors:
    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(torch.float64 if case.dtype == torch.float64 else dtype).double()

    b, c, o, t = case.batch, case.channels, case.out_channels, case.window.taps
    x = (normal(b, c, *case.size) * case.std + case.mean).to(case.dtype).double()
    if case.op == "patch_moments":
        return {"x": x, "d.mean": normal(c, t), "d.cov": normal(c, t, t)}
    acc = accumulation_dtype(case.dtype)
    scale = math.sqrt(t) * math.hypot(case.mean, case.std)
    inputs = {"x": x, "feature_weight": (normal(c, t, t) / scale).to(acc).double()}
    inputs["feature_bias"] = _bias_away_from_kinks(case, inputs, normal)
    height, width = case.window.output_size(case.size)
    kh, kw = case.window.kernel
    if case.op == "feature_stats":
        pixel = (b, t, height, width)
        shapes = (
            (pixel, pixel)
            if case.variant == "rfcbam"
            else ((b, c, kh * height), (b, c, kw * width))
        )
        return inputs | {"d.s0": normal(*shapes[0]), "d.s1": normal(*shapes[1])}
    gates: dict[str, list[Tensor]] = {
        "rfa": [normal(c, t) * case.logits / math.hypot(case.mean, case.std)],
        "rfcbam": [normal(b, c).sigmoid(), normal(b, t, height, width).sigmoid()],
        "rfca": [normal(b, c, kh * height).sigmoid(), normal(b, c, kw * width).sigmoid()],
        "none": [],
    }
    inputs |= {f"gate{i}": gate.to(acc).double() for i, gate in enumerate(gates[case.variant])}
    inputs["weight"] = (normal(o, c, kh, kw) / math.sqrt(c * t)).to(case.dtype).double()
    if case.bias:
        inputs["bias"] = normal(o, dtype=case.dtype)
    return inputs | {"d.y": normal(b, o, height, width, dtype=case.dtype)}


def _linear_features(case: Case, inputs: Tensors, bias: Tensor) -> Tensor:
    c, t = bias.shape
    weight = inputs["feature_weight"].reshape(c * t, 1, *case.window.kernel)
    return convolve(inputs["x"], weight, bias.reshape(-1), case.window, c)  # (B, C*T, Ho, Wo)


def _bias_away_from_kinks(case: Case, inputs: Tensors, normal: Callable[..., Tensor]) -> Tensor:
    """Draws b' again for every feature that comes near zero somewhere, where rounding decides the
    gradient.
    """
    c, t = case.channels, case.window.taps
    products = (
        _linear_features(case, inputs, torch.zeros(c, t, dtype=torch.float64))
        .transpose(0, 1)
        .flatten(1)
    )
    magnitude = float(products.abs().max()) if products.numel() else 1.0
    margin = (
        4e-6 * max(magnitude, 1.0) if case.dtype != torch.float64 else 1e-13 * max(magnitude, 1.0)
    )
    bias = normal(c, t)
    for _ in range(100):
        near = (products + bias.reshape(-1, 1)).abs().lt(margin).any(1).view(c, t)
        if not near.any():
            return bias
        bias = torch.where(near, normal(c, t), bias)
    raise RuntimeError(f"{case}: found no bias that keeps the features away from zero in 100 draws")


def _no_ties(case: Case, inputs: Tensors) -> bool:
    features = _linear_features(case, inputs, inputs["feature_bias"]).relu()
    features = features.unflatten(1, (case.channels, case.window.taps))
    if case.channels == 1:
        return True
    first, second = features.topk(2, 1).values.unbind(1)
    margin = 4e-6 * max(1.0, float(features.max()))
    return bool(((first - second > margin) | (first == 0)).all())


def evaluate(case: Case, inputs: Tensors, way: str, *, gradients: bool = True) -> Tensors:
    """Runs the op and its backward pass.

    Args:
        case: The problem.
        inputs: From :func:`draw`.
        way: ``"oracle"`` (reference in float64), ``"plain"`` (reference in the case's dtype) or
            ``"fused"``.
        gradients: Whether to run the backward pass.

    Returns:
        Named results: the op's outputs, and ``dNAME`` for every input that has a gradient.
    """
    leaves = {n: _typed(case, n, v, way) for n, v in inputs.items() if not n.startswith("d.")}
    names = [n.removeprefix("d.") for n in inputs if n.startswith("d.")]
    with torch.set_grad_enabled(gradients):
        outputs = _run(case, leaves, way == "fused")
    named = dict(zip(names, outputs, strict=True))
    result = {n: v.detach() for n, v in named.items()}
    if not gradients:
        return result
    cotangents = [inputs[f"d.{n}"].to(v.device, v.dtype) for n, v in named.items()]
    grads = torch.autograd.grad(list(named.values()), list(leaves.values()), cotangents)
    return result | {f"d{n}": g for n, g in zip(leaves, grads, strict=True)}


def _typed(case: Case, name: str, value: Tensor, way: str) -> Tensor:
    in_map_dtype = name in ("x", "weight", "bias")
    dtype = case.dtype if in_map_dtype else accumulation_dtype(case.dtype)
    value = value.clone() if way == "oracle" else value.to(case.device, dtype, copy=True)
    if name == "x" and case.channels_last:
        value = value.to(memory_format=torch.channels_last)
    if case.op == "linked" and name.startswith("gate"):
        return torch.nn.Parameter(value)  # of a module, as what gates are made with
    return value.requires_grad_()


def _run(case: Case, leaves: Tensors, fused: bool) -> tuple[Tensor, ...]:
    x, gate = leaves["x"], [v for n, v in leaves.items() if n.startswith("gate")]
    weights = [leaves[n] for n in ("feature_weight", "feature_bias") if n in leaves]
    source = torch.ops.rfaconv if fused else reference
    last: tuple[object, ...] = (case.window,)
    if fused:
        last = (case.window.to_ints(), case.backend)
    if case.op == "patch_moments":
        return tuple(source.patch_moments(x, *last))
    if case.op == "feature_stats":
        return tuple(source.feature_stats(x, *weights, case.variant, *last))
    rest = leaves["weight"], leaves.get("bias"), case.variant
    if case.op == "linked":
        return (_run_linked(case, (x, weights[0], weights[1]), gate, rest, fused),)
    return (source.project(x, *weights, gate, *rest, 1, *last),)


def _run_linked(
    case: Case,
    operands: tuple[Tensor, Tensor, Tensor],
    factors: Sequence[Tensor],
    rest: tuple[Tensor, Tensor | None, str],
    fused: bool,
) -> Tensor:
    """The gate of a channel is given, all others are factors times sigmoids of statistics."""
    window, ints = case.window, case.window.to_ints()
    given = factors[:1] if case.variant == "rfcbam" else []
    if fused:
        s0, s1 = torch.ops.rfaconv.feature_stats(*operands, case.variant, ints, case.backend)
    else:
        s0, s1 = reference.feature_stats(*operands, case.variant, window)
    made = [s0 * s1] if given else [s0, s1]
    gate = [*given]
    gate += [f * s.sigmoid() for f, s in zip(factors[len(given) :], made, strict=True)]
    if not fused:
        return reference.project(*operands, gate, *rest, 1, window)
    y = linked_project(*operands, gate, *rest, ints, case.backend)
    if y is not None:
        return y
    if torch.is_grad_enabled():
        raise RuntimeError(f"{case}: expected to be linked, was not")
    found: Tensor = torch.ops.rfaconv.project(*operands, gate, *rest, 1, ints, case.backend)
    return found


def parity(case: Case, seed: int = 0, *, gradients: bool = True) -> list[Parity]:
    """Runs a case all three ways and compares every result.

    Args:
        case: The problem.
        seed: Of the inputs.
        gradients: Whether to compare the gradients too.

    Returns:
        One row per result, named as in :func:`evaluate`.
    """
    inputs = draw(case, seed)
    ways = ("fused", "plain", "oracle")
    fused, plain, oracle = (evaluate(case, inputs, way, gradients=gradients) for way in ways)
    rows = []
    for name in fused:
        value = fused[name].cpu()
        # moments come in float64 from a map of lower precision: judged as what they were made from
        kind = torch.float32 if value.dtype == torch.float64 != case.dtype else value.dtype
        rows.append(compare(name, value, plain[name].cpu(), oracle[name].cpu(), dtype=kind))
    return rows
