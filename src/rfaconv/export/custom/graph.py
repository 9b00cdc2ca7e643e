"""Rewrites of the exported graph: what follows one of our nodes goes into it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rfaconv.export.custom.forms import DOMAIN

__all__ = ["absorb_followers"]


def absorb_followers(model: Any) -> None:
    """Folds the BatchNorm, then the ReLU, behind every node of the domain, in place.

    ``BatchNorm(K p + b) = (s K) p + (s (b - mean) + beta)`` with ``s = gamma / sqrt(var + eps)``.
    A follower stays where something else reads the node's output too.

    Args:
        model: an ``onnx.ModelProto``.
    """
    graph = model.graph
    for node in [n for n in graph.node if n.domain == DOMAIN]:
        follower = _only_follower(graph, node, "BatchNormalization")
        if follower is not None and _fold_norm(graph, node, follower):
            _take_over(graph, node, follower)
        follower = _only_follower(graph, node, "Relu")
        if follower is not None:
            next(a for a in node.attribute if a.name == "relu").i = 1
            _take_over(graph, node, follower)
    _drop_unused(graph)


def _only_follower(graph: Any, node: Any, kind: str) -> Any:
    output = node.output[0]
    if any(value.name == output for value in graph.output):
        return None
    readers = [n for n in graph.node if output in n.input]
    fits = len(readers) == 1 and readers[0].op_type == kind and readers[0].domain == ""
    return readers[0] if fits and list(readers[0].input).count(output) == 1 else None


def _take_over(graph: Any, node: Any, follower: Any) -> None:
    node.output[0] = follower.output[0]
    graph.node.remove(follower)


def _fold_norm(graph: Any, node: Any, norm: Any) -> bool:
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.input[1], node.input[-1], *norm.input[1:]]
    if any(name not in constants for name in names):
        return False
    values = [numpy_helper.to_array(constants[name]).astype(np.float64) for name in names]
    weight, bias, gamma, beta, mean, var = values
    eps = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(var + eps)
    node.input[1] = _add(graph, f"{node.name}.weight", weight * scale[:, None, None, None])
    node.input[-1] = _add(graph, f"{node.name}.bias", (bias - mean) * scale + beta)
    return True


def _add(graph: Any, name: str, value: Any) -> str:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return name


def _drop_unused(graph: Any) -> None:
    read = Counter(name for node in graph.node for name in node.input)
    for tensor in [t for t in graph.initializer if not read[t.name]]:
        graph.initializer.remove(tensor)
    written = {name for node in graph.node for name in node.output}
    kept = read.keys() | {value.name for value in graph.output}
    for value in [v for v in graph.value_info if v.name not in written & kept]:
        graph.value_info.remove(value)
