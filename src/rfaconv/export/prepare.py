"""From a network as it was trained to the one that is exported."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.forms import shape_for_export_
from rfaconv.nn._convolution import AttentionConv
from rfaconv.surgery.fusing import fuse

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Cast(nn.Module):
    """A network that computes in another dtype than the float32 that it takes and gives."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        """The network's output, in float32."""
        result: Tensor = self.network(x.to(self.dtype)).float()
        return result


def prepare(
    network: nn.Module, dtype: str = "float32", *, shaped: bool = True, runtime: str = "onnx"
) -> nn.Module:
    """A copy in evaluation mode on the CPU, BatchNorms folded, layers in their export forms.

    Args:
        network: any network.
        dtype: ``float32``, ``float16`` or ``bfloat16``: of the weights and of the computation.
        shaped: whether the receptive-field layers take the form that runtimes run fastest.
        runtime: the target whose form they take, or ``int8``.

    Returns:
        A network that computes the same to rounding.

    Raises:
        InvalidArgument: no module, an unknown dtype, parameters without values.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> type(prepare(RFAConv2d(4, 8, 3))).__name__
        'RFAForm'
    """
    if not isinstance(network, nn.Module):
        raise InvalidArgument("network", "a torch.nn.Module", f"a {type(network).__name__}")
    if dtype not in DTYPES:
        raise InvalidArgument("dtype", f"one of {', '.join(DTYPES)}", repr(dtype))
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        raise InvalidArgument("network", "parameters with values", "parameters on the meta device")
    result = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    fold_norms_(fuse(result))
    if shaped:
        result = shape_for_export_(result, runtime)
    return result if dtype == "float32" else Cast(result, DTYPES[dtype])


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """The operators are convolutions to a fold, whatever is in them."""
        return isinstance(m, AttentionConv) or super().is_leaf_module(m, module_qualified_name)


def fold_norms_(network: nn.Module) -> int:
    """Folds every BatchNorm whose only input is a convolution used nowhere else, in place.

    A network that ``torch.fx`` cannot trace is left as it is: exporters and runtimes fold what
    they find.

    Args:
        network: in evaluation mode.

    Returns:
        The number of norms folded.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # tracing fails with whatever the network's own code raises
        return 0
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    count = 0
    for node in graph.nodes:
        source: Any = node.args[0] if node.args else None
        if (
            node.op != "call_module"
            or type(modules[node.target]) is not nn.BatchNorm2d
            or not isinstance(source, torch.fx.Node)
            or source.op != "call_module"
            or len(source.users) != 1
            or calls[node.target] != 1
            or calls[source.target] != 1
        ):
            continue
        conv: Any = modules[str(source.target)]
        norm: Any = modules[node.target]
        if not isinstance(conv, nn.Conv2d) or norm.running_mean is None:
            continue
        _replace(network, str(source.target), nn.utils.fuse_conv_bn_eval(conv, norm))
        _replace(network, node.target, nn.Identity())
        count += 1
    return count


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module.requires_grad_(False))
