"""The convolutions of a network, where they sit, and which of them can be replaced."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
"""What a site can hold."""

_OWN_FORWARDS = ("forward", "_conv_forward")
_MERGERS = ("fuse_convs", "reparameterize", "switch_to_deploy", "get_equivalent_kernel_bias")


@dataclass(frozen=True)
class Site:
    """A convolution of a network and the modules around it.

    Attributes:
        name: name in ``model.named_modules()``, for example ``layer1.0.conv1``.
        module: the convolution.
        ancestors: the modules around it, the network first, the direct parent last.
        places: every (parent, attribute) that refers to the module; more than one if it is shared.
        first: True for the first convolution of the network in order of definition, as a rule its
            stem.
    """

    name: str
    module: Convolution
    ancestors: tuple[nn.Module, ...]
    places: tuple[tuple[nn.Module, str], ...]
    first: bool

    @property
    def attribute(self) -> str:
        """Name of the convolution in its parent."""
        return self.name.rpartition(".")[2]

    @property
    def parent(self) -> nn.Module:
        """The module that holds the convolution."""
        return self.ancestors[-1]

    @property
    def taps(self) -> int:
        """Number of inputs under the kernel."""
        return math.prod(self.module.kernel_size)

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.module.kernel_size)


def find_sites(model: nn.Module) -> list[Site]:
    """Returns all convolutions below ``model``, shared ones once, in order of definition."""
    paths: dict[Convolution, tuple[str, tuple[nn.Module, ...]]] = {}
    places: dict[Convolution, list[tuple[nn.Module, str]]] = {}
    for name, module, ancestors in _walk(model):
        if isinstance(module, Convolution):
            paths.setdefault(module, (name, ancestors))
            place = (ancestors[-1], name.rpartition(".")[2])
            if place not in places.setdefault(module, []):
                places[module].append(place)
    return [
        Site(name, module, ancestors, tuple(places[module]), first=index == 0)
        for index, (module, (name, ancestors)) in enumerate(paths.items())
    ]


def _walk(
    module: nn.Module, prefix: str = "", ancestors: tuple[nn.Module, ...] = ()
) -> Iterator[tuple[str, nn.Module, tuple[nn.Module, ...]]]:
    for attribute, child in module._modules.items():
        if child is None or child is module or child in ancestors:
            continue
        name = f"{prefix}{attribute}"
        chain = (*ancestors, module)
        yield name, child, chain
        yield from _walk(child, f"{name}.", chain)


def shared_parameters(model: nn.Module) -> set[int]:
    """Returns the ids of parameters that more than one module of ``model`` holds."""
    counts = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    )
    return {key for key, count in counts.items() if count > 1}


def obstacle(site: Site, shared: set[int]) -> str | None:
    """Returns why the convolution of ``site`` cannot be replaced, or None if it can."""
    module = site.module
    kind = type(module)
    if kind.__module__.startswith("rfaconv.nn"):
        return f"is {kind.__name__} of this library already"
    for ancestor in site.ancestors:
        holder = type(ancestor)
        if holder.__module__.startswith("rfaconv.nn"):
            return f"is a part of {holder.__name__}"
    for ancestor in site.ancestors[1:]:
        merger = next((name for name in _MERGERS if hasattr(ancestor, name)), None)
        if merger is not None:
            return f"{type(ancestor).__name__}.{merger} reads its weight to merge branches"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        return "is lazy and has no shape yet: run the network once first"
    if parametrize.is_parametrized(module):
        return "its weight is parametrized: remove the parametrization first"
    if module._parameters.get("weight") is None:
        return "its weight is computed by a hook (weight_norm, pruning, ...): remove the hook first"
    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[site.dims - 1]
    if any(getattr(kind, name) is not getattr(plain, name) for name in _OWN_FORWARDS):
        return f"{kind.__module__}.{kind.__name__} computes something else than nn.{plain.__name__}"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if module.weight.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        return f"its dtype {module.weight.dtype} is not a real floating point type"
    parameters = (module.weight, module.bias)
    if any(parameter is not None and id(parameter) in shared for parameter in parameters):
        return "shares its parameters with another module"
    return None
