"""Whether the parameters of a child may be read in place of calling it.

Fully sharded training, offloading, pruning and parametrisation put a module's weights in place by
hooks around its call, by another ``forward`` or by another class. Such a child is called.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules import module as _module

from rfaconv.functional.attend import RunningNorm

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

# as they were imported: somebody may have put another function in the place of one
_FORWARDS: dict[type[nn.Module], Any] = {
    kind: kind.forward for kind in (nn.Linear, nn.Conv2d, *NORMS)
}
# the dictionaries of the hooks of all modules: torch has no public name to ask for them
_GLOBAL_HOOKS = tuple(
    getattr(_module, name)
    for name in (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
)
_TRACKER = "torch.utils.module_tracker"
_FROZEN = "torchvision.ops.misc.FrozenBatchNorm2d"


def entry(module: Any, name: str) -> Any:
    """``getattr`` of a parameter, buffer or child, of which inference reads many: torch's
    own look-up takes four times as long.
    """
    for store in (module._parameters, module._modules, module._buffers):
        if name in store:
            return store[name]
    return getattr(module, name)


def is_plain(module: Any, *kinds: type[nn.Module]) -> bool:
    """Whether a call of the module would do what its class does, and nothing else."""
    kind = type(module)
    if kind not in kinds or kind.forward is not _FORWARDS.setdefault(kind, kind.forward):
        return False
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if module._backward_hooks or module._backward_pre_hooks or _any_global_hook():
        return False
    own = module.__dict__  # libraries put a method of their own in place of either
    return "forward" not in own and "_conv_forward" not in own


def _any_global_hook() -> bool:
    """Whether a hook of all modules would see the calls of the children, or change what they give.

    Those of torch's own tracker, by which its counter of operations knows where it is, only look.
    """
    if not any(_GLOBAL_HOOKS):
        return False
    hooks = [hook for store in _GLOBAL_HOOKS for hook in store.values()]
    return any(getattr(hook, "__module__", "") != _TRACKER for hook in hooks)


def is_plain_norm(norm: Any) -> bool:
    """Whether the norm is a BatchNorm whose statistics and parameters may be read."""
    kind = type(norm)
    # a class of ours that reduces its statistics over processes says so by `synchronize`
    if kind in NORMS:
        return is_plain(norm, kind)
    known = getattr(kind, "synchronize", False)
    known = known or f"{kind.__module__}.{kind.__qualname__}" == _FROZEN
    return known and is_plain(norm, kind)


def is_plain_linear(layer: Any) -> bool:
    """Whether the layer is a product with its weight."""
    return is_plain(layer, nn.Linear) and entry(layer, "bias") is None


def is_plain_pointwise(layer: Any, *, bias: bool = True) -> bool:
    """Whether the layer is a convolution of single pixels, with a bias only where one may be."""
    return (
        is_plain(layer, nn.Conv2d)
        and layer.kernel_size == layer.stride == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
        and (bias or entry(layer, "bias") is None)
    )


def running_norm(norm: Any) -> RunningNorm | None:
    """What a plain BatchNorm normalises with in evaluation; None where it uses the batch."""
    if not is_plain_norm(norm) or norm.training:
        return None
    mean, variance = entry(norm, "running_mean"), entry(norm, "running_var")
    if mean is None or variance is None:
        return None
    return RunningNorm(mean, variance, entry(norm, "weight"), entry(norm, "bias"), norm.eps)
