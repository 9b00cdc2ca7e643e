"""Runs a case of ``rfaconv.backends.cases`` through the Triton kernels, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from rfaconv.backends.cases import Case, Tensors, draw, evaluate
from rfaconv.backends.triton.moments import launch as moments
from rfaconv.backends.triton.project import backward
from rfaconv.backends.triton.project import launch as project
from rfaconv.backends.triton.stats import backward as stats_backward
from rfaconv.backends.triton.stats import launch as stats
from rfaconv.reference.features import accumulation_dtype
from rfaconv.reference.parity import Parity, compare


def fused(case: Case, inputs: Tensors) -> Tensors:
    """Outputs and ``dNAME`` of every input, as ``evaluate`` names them."""
    window = case.window.to_ints()
    acc = accumulation_dtype(case.dtype)
    typed = {
        name: value.to(case.dtype if name in ("x", "weight", "bias") else acc, copy=True)
        for name, value in inputs.items()
    }
    x = typed["x"]
    if case.channels_last:
        x = x.to(memory_format=torch.channels_last)
    if case.op == "patch_moments":
        mean, cov = moments.patch_moments(x, window)
        dx = moments.patch_moments_backward(inputs["d.mean"], inputs["d.cov"], x, mean, window)
        return {"mean": mean, "cov": cov, "dx": dx}
    weights = (typed["feature_weight"], typed["feature_bias"])
    names = ("dx", "dfeature_weight", "dfeature_bias")
    if case.op == "feature_stats":
        s0, s1 = stats.feature_stats(x, *weights, case.variant, window)
        grads = stats_backward.feature_stats_backward(
            typed["d.s0"], typed["d.s1"], x, *weights, s0, case.variant, window
        )
        return {"s0": s0, "s1": s1} | dict(zip(names, grads, strict=True))
    gate = [typed[n] for n in sorted(typed) if n.startswith("gate")]
    weight, bias, dy = typed["weight"], typed.get("bias"), typed["d.y"].to(case.dtype)
    y = project.project(x, *weights, gate, weight, bias, case.variant, 1, window)
    *grads, gates = backward.project_backward(
        dy, x, *weights, gate, weight, case.variant, 1, window, [True] * 5
    )
    found: Tensors = {"y": y} | dict(zip((*names, "dweight"), grads, strict=True))
    found |= {f"dgate{i}": g for i, g in enumerate(gates)}
    if bias is not None:
        found["dbias"] = dy.sum((0, 2, 3))
    return found


def parity(case: Case, seed: int = 0) -> list[Parity]:
    """Every result against plain torch in the same dtype and the float64 reference."""
    inputs = draw(case, seed)
    got = fused(case, inputs)
    plain, oracle = (evaluate(case, inputs, way) for way in ("plain", "oracle"))
    assert set(got) == set(oracle)
    rows = []
    for name, value in got.items():
        kind = torch.float32 if value.dtype == torch.float64 else value.dtype
        rows.append(compare(name, value, plain[name], oracle[name], dtype=kind))
    return rows


def layout(value: Tensor) -> torch.memory_format:
    """The memory format that the strides mean."""
    last = value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
