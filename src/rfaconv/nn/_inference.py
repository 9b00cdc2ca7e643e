"""The short way of a layer through eager inference on the CPU: one call of the library.

It is taken only where nothing could tell it from the ordinary way but the clock: no gradients, no
mode, tracer, profiler or hook that would see the stages, and a layer that is as it was when the
call was prepared. Everything else goes the ordinary way.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rfaconv.backends.cpu import BACKEND
from rfaconv.backends.cpu.forward import Attention, Features, ForwardCall, Norm
from rfaconv.geometry import Problem
from rfaconv.nn._norm import norm_state

_ATTENTION: dict[type[nn.Module], Callable[[Any], Attention | None]] = {}

_TENSORS = (Tensor, nn.Parameter)
# what a layer's geometry is read from
_GEOMETRY = ("stride", "padding", "dilation", "groups", "padding_mode", "backend")


def attention_of(
    kind: type[nn.Module],
) -> Callable[[Callable[[Any], Attention | None]], Callable[[Any], Attention | None]]:
    """Registers what the attention of exactly this class, not of its subclasses, is made from.

    The function returns None where the layer is not in the state of plain inference.
    """

    def register(read: Callable[[Any], Attention | None]) -> Callable[[Any], Attention | None]:
        _ATTENTION[kind] = read
        return read

    return register


def infer(layer: Any, x: Tensor) -> Tensor | None:
    """Runs the layer the short way, or returns None where the ordinary way must be taken."""
    if not _ordinary(x):
        return None
    known: _Prepared | None = layer.__dict__.get("_prepared")
    if known is None or not known.holds_for(layer):
        known = layer._prepared = _Prepared(layer)
    return None if known.call is None or any(known.hooks) else known.call(x)


class _Prepared:
    """The call of a layer, or that it has none, for as long as the layer stays as it is.

    Attributes:
        call: the call, or None.
        hooks: hooks of the layer's children, which the call would not run.
    """

    __slots__ = ("_attributes", "_memory", "_watched", "call", "hooks")

    def __init__(self, layer: Any) -> None:
        self._attributes = layer.__dict__
        self._watched: list[tuple[dict[str, Any], str, Any]] = []
        self.hooks: list[dict[int, Any]] = []
        tensors = itertools.chain(layer.parameters(), layer.buffers())
        self._memory = [(t, t.data_ptr()) for t in tensors if type(t) in _TENSORS]
        for module in layer.modules():
            names = ("training", *_GEOMETRY) if module is layer else ("training", "eps")
            for store in (module._parameters, module._buffers, module._modules):
                self._watched += [(store, name, value) for name, value in store.items()]
            attributes = module.__dict__
            self._watched += [(attributes, n, attributes[n]) for n in names if n in attributes]
            if module is not layer:
                self.hooks += [module._forward_hooks, module._forward_pre_hooks]
        self.call = _prepare(layer)

    def holds_for(self, layer: Any) -> bool:
        """Whether it is of this layer, not of one that this is a shallow copy of, and nothing was
        replaced or moved in it since.

        Values need not be watched: the call has pointers to them.
        """
        if layer.__dict__ is not self._attributes:
            return False
        for store, name, value in self._watched:
            if store.get(name) is not value:
                return False
        return all(tensor.data_ptr() == pointer for tensor, pointer in self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the layer prepares its own: this one points into the parameters."""
        return type(None), ()


def _prepare(layer: Any) -> ForwardCall | None:
    read = _ATTENTION.get(type(layer))
    if read is None or layer.training:
        return None
    if layer.padding_mode != "zeros" or layer.backend not in ("auto", "cpu"):
        return None
    window = layer.window
    problem = Problem(
        "project", layer.variant, "cpu", "float32", window, layer.in_channels, groups=layer.groups
    )
    features, attention = _features(layer), read(layer)
    if features is None or attention is None or BACKEND.refusal(problem) is not None:
        return None
    if layer.backend == "auto" and BACKEND.hesitation(problem) is not None:
        return None
    weight, bias, norms = layer.weight, layer.bias, (features.norm, attention.norm)
    optional = (features.bias, bias, *attention.biases)
    dense = [features.weight, *attention.weights, *(t for t in optional if t is not None)]
    dense += [tensor for norm in norms if norm is not None for tensor in norm.tensors()]
    strided = [weight, *(() if attention.spatial is None else (attention.spatial,))]
    if not all(map(_plain, (*dense, *strided))) or not all(t.is_contiguous() for t in dense):
        return None
    return ForwardCall(layer.variant, window, features, attention, weight, bias)


def _features(layer: Any) -> Features | None:
    if layer.feature_bias is not None:
        return Features(layer.feature_weight, layer.feature_bias, None)
    norm = running_norm(layer.feature_norm)
    return None if norm is None else Features(layer.feature_weight, None, norm)


def running_norm(layer: Any) -> Norm | None:
    """What a BatchNorm normalises with in evaluation; None where it uses the batch."""
    state = norm_state(layer)
    if layer.training or state.running_mean is None or state.running_var is None:
        return None
    return Norm(state.running_mean, state.running_var, state.weight, state.bias, state.eps)


def _plain(tensor: Tensor) -> bool:
    kind = type(tensor) in _TENSORS and tensor.layout == torch.strided
    return kind and tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _ordinary(x: Tensor) -> bool:
    """Whether an operation on x would go straight to its kernel, unseen and unrecorded."""
    return (
        _TORCH_TELLS
        and type(x) is Tensor
        and not torch.is_grad_enabled()
        and (*_thread_keys(), torch._C._dispatch_keys(x).raw_repr()) in _ordinary_keys()
        and not torch._C._is_torch_function_mode_enabled()
        and not torch._C._autograd._profiler_enabled()
        and forward_ad._current_level < 0
        and not nn.modules.module._has_any_global_hook()
    )


# torch has no public names for these; where one is missing, every layer goes the ordinary way
_TORCH_TELLS = all(
    hasattr(owner, name)
    for owner, name in (
        (torch._C, "_dispatch_keys"),
        (torch._C, "_dispatch_tls_local_include_set"),
        (torch._C, "_dispatch_tls_local_exclude_set"),
        (torch._C, "_is_torch_function_mode_enabled"),
        (torch._C._autograd, "_profiler_enabled"),
        (forward_ad, "_current_level"),
        (nn.modules.module, "_has_any_global_hook"),
    )
)


def _thread_keys() -> tuple[int, int]:
    included = torch._C._dispatch_tls_local_include_set()
    return included.raw_repr(), torch._C._dispatch_tls_local_exclude_set().raw_repr()


@functools.cache
def _ordinary_keys() -> frozenset[tuple[int, int, int]]:
    """The dispatch keys of a thread in no mode, in and out of inference mode, with those of plain
    tensors; a mode, autocast, a tracer or a transform sets others.
    """
    keys = []

    def collect() -> None:  # in a new thread, which is in none of the modes of this one
        with torch.inference_mode():
            tensors = [torch.empty(0)]
        tensors.append(torch.empty(0))
        for inference, tensor in itertools.product((False, True), tensors):
            with torch.inference_mode(inference):
                keys.append((*_thread_keys(), torch._C._dispatch_keys(tensor).raw_repr()))

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    return frozenset(keys)
