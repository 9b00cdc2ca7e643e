"""What a conversion left in a network, as plain values, and the same layers put into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.surgery.layers import LAYERS, operator_of
from rfaconv.surgery.sites import Site, find_sites, obstacle, shared_parameters
from rfaconv.surgery.transplant import adopt, build, put

FORMAT = 1
_ATTRIBUTE = "rfaconv_conversion"
_CONFIG_KEY = "rfaconv"
_GEOMETRY = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
    "padding_mode",
)  # fmt: skip


def conversion_of(model: nn.Module) -> dict[str, Any]:
    """Describes the operator layers of a network, so that another network can be given the same.

    :func:`rfaconv.convert_` keeps the description with the network: in the attribute
    ``rfaconv_conversion``, which pickling carries, in the ``config`` of a network of transformers
    and in the ``pretrained_cfg`` of one of timm, which their own savers write.

    Args:
        model: any network.

    Returns:
        ``format``, and ``layers`` by name: ``operator``, ``init`` (``fresh``, ``preserve``, or
        ``unknown`` for a layer that no conversion made), geometry, ``bias`` and ``eps``; values
        that JSON has. Whether a layer is fused is seen from its weights.

    Raises:
        InvalidArgument: it is not a module.

    Example:
        >>> from rfaconv.surgery import convert_
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> _ = convert_(network, "rfca")
        >>> conversion_of(network)["layers"]["0"]["operator"]
        'rfca'
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module", f"a {type(model).__name__}")
    kept = getattr(model, _ATTRIBUTE, None)
    known: Mapping[str, Any] = kept.get("layers", {}) if isinstance(kept, dict) else {}
    layers = {}
    for name, module in model.named_modules():
        operator = operator_of(module)
        if operator is not None and name:
            init = known.get(name, {}).get("init", "unknown")
            layers[name] = {"operator": operator, "init": init, **_described(module)}
    return {"format": FORMAT, "layers": layers}


def converted_like(model: nn.Module, description: Mapping[str, Any]) -> nn.Module:
    """Gives a network the layers of a description, in place, with fresh weights.

    Afterwards the state dict of the network that was described loads, fused or not. Layers of the
    operator that are there already are left, except for their bias.

    Args:
        model: a network built as the one that was described was before its conversion.
        description: of :func:`conversion_of`.

    Returns:
        The same model.

    Raises:
        InvalidArgument: it is no description, or a layer is missing or of another geometry;
            nothing is changed.

    Example:
        >>> from rfaconv.surgery import convert_
        >>> trained = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> _ = convert_(trained, "rfa")
        >>> again = converted_like(nn.Sequential(nn.Conv2d(3, 8, 3)), conversion_of(trained))
        >>> again.load_state_dict(trained.state_dict())
        <All keys matched successfully>
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module", f"a {type(model).__name__}")
    layers = _checked(description)
    shared = shared_parameters(model)
    sites = {site.name: site for site in find_sites(model)}
    plans = [_plan(name, entry, sites.get(name), shared) for name, entry in layers.items()]
    for site, entry in plans:
        layer: Any = site.module
        if operator_of(layer) is None:
            layer = build(site.module, entry["operator"], bias=entry["bias"])
            adopt(layer, site.module)
            put(site, layer)
        elif entry["bias"] != (layer.bias is not None):
            bias = torch.zeros_like(layer.weight[:, 0].flatten(1)[:, 0]) if entry["bias"] else None
            layer.bias = None if bias is None else nn.Parameter(bias)
        if entry.get("eps") is not None and hasattr(layer.feature_norm, "eps"):
            layer.feature_norm.eps = entry["eps"]
    remember(model, {name: entry.get("init", "unknown") for name, entry in layers.items()})
    return model


def remember(model: nn.Module, inits: Mapping[str, str]) -> None:
    """Keeps the description with the model, where libraries' own savers take it along."""
    found = conversion_of(model)
    for name, init in inits.items():
        if name in found["layers"]:
            found["layers"][name]["init"] = init
    setattr(model, _ATTRIBUTE, found)
    config = getattr(model, "config", None)
    if hasattr(config, "to_json_string"):
        setattr(config, _CONFIG_KEY, found)
    pretrained = getattr(model, "pretrained_cfg", None)
    if isinstance(pretrained, dict):
        pretrained[_CONFIG_KEY] = found


def stored_conversion(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The description in the configuration that a saver of transformers or timm wrote, or None."""
    nested = config.get("pretrained_cfg")
    found = config.get(_CONFIG_KEY) or (
        nested.get(_CONFIG_KEY) if isinstance(nested, Mapping) else None
    )
    return found if isinstance(found, Mapping) else None


def _described(module: Any) -> dict[str, Any]:
    values = {key: getattr(module, key) for key in _GEOMETRY}
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
    eps = getattr(getattr(module, "feature_norm", None), "eps", None)
    return {**plain, "bias": module.bias is not None, "eps": eps}


def _checked(description: object) -> Mapping[str, Mapping[str, Any]]:
    expected = "what conversion_of returned"
    if not isinstance(description, Mapping) or not isinstance(description.get("layers"), Mapping):
        raise InvalidArgument("description", expected, f"a {type(description).__name__}")
    if description.get("format") != FORMAT:
        found = f"format {description.get('format')!r}"
        raise InvalidArgument("description", f"{expected}, of format {FORMAT}", found)
    layers: Mapping[str, Any] = description["layers"]
    for name, entry in layers.items():
        if not isinstance(entry, Mapping) or not {"operator", "bias", *_GEOMETRY} <= entry.keys():
            raise InvalidArgument("description", expected, f"{entry!r} for {name}")
        dims = entry["kernel_size"]
        if entry["operator"] not in LAYERS or not isinstance(dims, list | tuple):
            raise InvalidArgument("description", expected, f"{entry!r} for {name}")
    return layers


def _plan(
    name: str, entry: Mapping[str, Any], site: Site | None, shared: set[int]
) -> tuple[Site, Mapping[str, Any]]:
    if site is None:
        raise InvalidArgument("model", f"a network with a convolution {name}", "none of that name")
    found = operator_of(site.module)
    if found is None:
        reason = obstacle(site, shared)
        if reason is not None:
            raise InvalidArgument("model", f"a convolution at {name}", f"one that {reason}")
        if site.dims not in LAYERS[entry["operator"]]:
            got = f"one of {site.dims} dimensions"
            raise InvalidArgument("model", f"a convolution for {entry['operator']} at {name}", got)
    elif found != entry["operator"]:
        raise InvalidArgument("model", f"{entry['operator']} or a convolution at {name}", found)
    own = _described(site.module)
    for key in _GEOMETRY:
        wanted = list(entry[key]) if isinstance(entry[key], tuple) else entry[key]
        if own[key] != wanted:
            raise InvalidArgument("model", f"{key} {wanted} at {name}", own[key])
    return site, entry
