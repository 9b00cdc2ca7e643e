"""Structured pruning by torch-pruning: what it has to be told about the operators.

Its dependency graph follows autograd's. Inside an operator channels become channels times taps and
back, which it cannot follow; so each layer is one node of the graph, and a pruner narrows it whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn._convolution import AttentionConv
from rfaconv.nn.attention import CAM, SE, CoordinateGate

__all__ = ["keep_inputs", "pruning_arguments"]

_ATTENTIONS = (SE, CAM, CoordinateGate)
_NARROWED_INPUTS = ("fc1", "conv1")
"""Children of attention modules that read all channels; the others but norms make them."""
_OVER_MAPS = ("spatial",)


def pruning_arguments(model: nn.Module) -> dict[str, Any]:
    """What ``torch_pruning``'s pruners and dependency graph need for a network with operators.

    Args:
        model: the network that is pruned, on the device of its example input.

    Returns:
        ``customized_pruners`` and ``forward_fn``, to be given to a pruner or to
        ``DependencyGraph.build_dependency`` as they are.

    Raises:
        InvalidArgument: a layer whose outputs are each of one input (depthwise), which cannot be
            narrowed on one side alone.
        ImportError: torch-pruning is missing.

    Example:
        >>> import torch, torch_pruning as tp
        >>> from rfaconv.models import rfa_resnet18
        >>> model, image = rfa_resnet18(num_classes=10), torch.randn(1, 3, 64, 64)
        >>> pruner = tp.pruner.MagnitudePruner(
        ...     model, image, tp.importance.MagnitudeImportance(), pruning_ratio=0.5,
        ...     ignored_layers=[model.fc], **pruning_arguments(model),
        ... )
        >>> pruner.step()
        >>> model.layer1[0].conv1.weight.shape
        torch.Size([32, 32, 3, 3])
    """
    layers = _layers(model)
    for name, layer in layers.items():
        if isinstance(layer, AttentionConv) and 1 < layer.groups == layer.in_channels:
            expected = "fewer groups than channels (depthwise layers cannot be pruned)"
            raise InvalidArgument(f"{name}.groups", expected, layer.groups)
    pruners = {type(layer): _pruner(layer) for layer in layers.values()}
    return {"customized_pruners": pruners, "forward_fn": _forward}


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Operators and attention modules by their names, but for those inside of others."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, (AttentionConv, *_ATTENTIONS)) and not inside:
            found[name] = module
    return found


def _forward(model: nn.Module, inputs: Any) -> Any:
    """Runs a network so that each operator is one node of autograd's graph."""
    with ExitStack() as stack:
        for layer in _layers(model).values():
            stack.enter_context(_as_one_node(layer))
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


@contextmanager
def _as_one_node(module: nn.Module) -> Iterator[None]:
    forward, own = module.forward, module.__dict__.get("forward")
    parameter = next(module.parameters())

    def whole(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.no_grad():
            y = forward(x, *args, **kwargs)
        linked: Tensor = _Node.apply(x, parameter, y)
        return linked

    module.forward = whole
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


class _Node(torch.autograd.Function):
    """``y`` as if made of an input and a parameter; without a parameter the first layer, whose
    input needs no gradient, would be in no graph.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, parameter: Tensor, y: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError("a graph of dependencies has no gradients")


def _pruner(layer: nn.Module) -> Any:
    """A pruner of torch-pruning for layers of one class."""
    import torch_pruning
    from torch_pruning.pruner.function import BasePruningFunc

    class LayerPruner(BasePruningFunc):  # type: ignore[misc]  # torch-pruning has no types
        TARGET_MODULES = (AttentionConv,)
        # outputs are those of a convolution; importances know this very function
        prune_out_channels = torch_pruning.prune_conv_out_channels

        def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
            gone = set(idxs)
            keep_inputs(layer, [i for i in range(layer.in_channels) if i not in gone])
            return layer

        def get_out_channels(self, layer: Any) -> int:
            return int(layer.out_channels)

        def get_in_channels(self, layer: Any) -> int:
            return int(layer.in_channels)

        def get_in_channel_groups(self, layer: Any) -> int:
            return int(layer.groups)

        get_out_channel_groups = get_in_channel_groups

    class AttentionPruner(BasePruningFunc):  # type: ignore[misc]
        TARGET_MODULES = _ATTENTIONS

        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
            gone = set(idxs)
            _keep_channels(layer, [i for i in range(_channels(layer)) if i not in gone])
            return layer

        prune_in_channels = prune_out_channels  # both are the channels of one map

        def get_out_channels(self, layer: Any) -> int:
            return _channels(layer)

        get_in_channels = get_out_channels

    return LayerPruner() if isinstance(layer, AttentionConv) else AttentionPruner()


def keep_inputs(layer: AttentionConv, keep: Sequence[int]) -> None:
    """Leaves a layer some of its input channels, in place; their parameters stay as they are.

    Args:
        layer: any operator.
        keep: the channels that stay, each once, in order; equally many of each group.

    Raises:
        InvalidArgument: ``keep`` is empty, has other channels, or a group loses more than another.

    Example:
        >>> from rfaconv import RFAConv2d
        >>> layer = RFAConv2d(8, 16, 3)
        >>> keep_inputs(layer, [0, 2, 5])
        >>> layer(torch.randn(1, 3, 9, 9)).shape
        torch.Size([1, 16, 9, 9])
    """
    channels, groups = layer.in_channels, layer.groups
    if not keep or sorted(set(keep)) != list(keep) or not 0 <= keep[0] <= keep[-1] < channels:
        raise InvalidArgument("keep", f"channels from 0 to {channels - 1}, each once", keep)
    size = channels // groups
    blocks = [[i - g * size for i in keep if i // size == g] for g in range(groups)]
    if len({len(block) for block in blocks}) > 1:
        raise InvalidArgument("keep", f"equally many channels of all {groups} groups", keep)
    outputs = layer.out_channels // groups
    index = torch.tensor(blocks).repeat_interleave(outputs, 0)
    tail = layer.weight.shape[2:]
    wanted = index.view(*index.shape, *(1,) * len(tail)).expand(*index.shape, *tail)
    _replace(layer, "weight", lambda t: t.gather(1, wanted.to(t.device)))
    layer.in_channels = len(keep)

    def rows(t: Tensor) -> Tensor:  # every channel has one row a tap
        return _chosen(t.unflatten(0, (channels, -1)), 0, keep).flatten(0, 1)

    for name in [n for n, p in layer._parameters.items() if p is not None]:
        if name not in ("weight", "bias", "spatial_weight"):
            _replace(layer, name, rows)
    for child in layer.children():
        if isinstance(child, _ATTENTIONS):
            _keep_channels(child, keep)
        elif isinstance(child, nn.modules.batchnorm._BatchNorm):
            for name in ("weight", "bias", "running_mean", "running_var"):
                _replace(child, name, rows)
            child.num_features = len(keep) * (child.num_features // channels)


def _channels(attention: nn.Module) -> int:
    first: Any = next(getattr(attention, n) for n in _NARROWED_INPUTS if hasattr(attention, n))
    return int(first.weight.shape[1])


def _keep_channels(attention: nn.Module, keep: Sequence[int]) -> None:
    for name, child in attention.named_children():
        if name in _OVER_MAPS or not isinstance(child, (nn.Linear, nn.Conv2d)):
            continue
        axis = 1 if name in _NARROWED_INPUTS else 0
        unit = "features" if isinstance(child, nn.Linear) else "channels"
        setattr(child, f"{'in' if axis else 'out'}_{unit}", len(keep))
        _replace(child, "weight", lambda t, a=axis: _chosen(t, a, keep))
        if axis == 0:
            _replace(child, "bias", lambda t: _chosen(t, 0, keep))


def _chosen(t: Tensor, axis: int, keep: Sequence[int]) -> Tensor:
    return t.index_select(axis, torch.tensor(keep, device=t.device))


def _replace(module: nn.Module, name: str, change: Any) -> None:
    """Changes a parameter with its gradient, or a buffer, where there is one."""
    old = getattr(module, name)
    if old is None:
        return
    if not isinstance(old, nn.Parameter):
        setattr(module, name, change(old))
        return
    new = nn.Parameter(change(old.detach()), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = change(old.grad)
    setattr(module, name, new)
