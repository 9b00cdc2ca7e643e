"""Replaces convolutions of a network by attention convolutions, in place."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.surgery.bounds import UNKNOWN
from rfaconv.surgery.calibration import Observation, observe, prove
from rfaconv.surgery.description import remember
from rfaconv.surgery.layers import LAYERS
from rfaconv.surgery.preserve import lower_bounds, needs_bias, preserve_
from rfaconv.surgery.report import NOT_SELECTED, ConversionReport
from rfaconv.surgery.sites import Convolution, Site, find_sites, obstacle, shared_parameters
from rfaconv.surgery.transplant import adopt, build, put
from rfaconv.surgery.where import NamePattern, Predicate, as_predicate, spatial
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS

Where = Callable[[Site], bool] | Callable[[str, Convolution], bool]
_INITS = ("fresh", "preserve")


def convert_(
    model: nn.Module,
    operator: str,
    where: Where | str | re.Pattern[str] = spatial,
    init: str = "fresh",
    calibration: Iterable[Any] | Tensor | None = None,
    *,
    bias: bool | None = None,
) -> ConversionReport:
    """Replaces convolutions of ``model`` by an attention convolution, in place.

    Convolutions of one, two and three dimensions are replaced by layers of as many; cam, cbam and
    ca are layers of two. What was done is kept with the model (see
    :func:`rfaconv.conversion_of`), for saving.

    With ``init="preserve"`` the network computes the same as before in evaluation mode, to
    rounding: the attention starts as a constant and training takes it from there. Receptive-field
    operators (rfa, rfcbam, rfca) then need a lower bound of what enters each layer. It is proved
    from the structure of the network where that is possible (ReLU, SiLU, GELU …, pooling,
    concatenations and sums of those); for other layers it is taken from the calibration, with the
    calibrated range once more as headroom. An input below the bound acts as if it were the bound.
    Without calibration all bounds have to be provable, and training statistics are not matched:
    calibrate before training on.

    Geometry, groups, dtype, device, training flags, ``requires_grad``, hooks and foreign attributes
    (such as ultralytics' ``i``, ``f``, ``type``, ``np``) are kept; ``weight`` and ``bias`` become
    new parameters, so make optimizers afterwards. Nothing is changed if an argument is bad.

    Args:
        model: any network; its own name for a convolution is used in the report.
        operator: ``rfa``, ``rfcbam``, ``rfca``, ``cam``, ``cbam`` or ``ca``.
        where: which convolutions: a predicate of :mod:`rfaconv.surgery.where`, any function of a
            site or of name and module, or a name pattern. By default all with a kernel above 1x1.
        init: ``fresh`` for new random weights, ``preserve`` for the same function as before.
        calibration: for ``preserve``: an iterable of input batches (tensors; tuples or lists whose
            first entry is the input, as a DataLoader yields; or mappings of keyword arguments), or
            one tensor.
        bias: for ``fresh``: whether the layers have a bias. None: as the convolution had.

    Returns:
        What was replaced, what was skipped and why.

    Raises:
        InvalidArgument: if an argument is bad, nothing can be replaced (what was found is named),
            calibration is missing where it is needed or leads to values that are not finite.

    Example:
        >>> network = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1))
        >>> x = torch.randn(2, 4, 7, 6)
        >>> before = network.eval()(x)
        >>> convert_(network, "rfa", init="preserve").replaced
        ('1',)
        >>> torch.allclose(network(x), before, atol=1e-5), network(x).shape
        (True, torch.Size([2, 8, 7, 6]))

    Source: the paper replaces convolutions of known networks (section 4); the preserving start is
        this library's.
    """
    predicate = _validated(model, operator, where, init, calibration, bias)
    sites = find_sites(model)
    _check_matches(predicate, sites)
    skipped: dict[str, str] = {}
    selected = _select(model, sites, operator, predicate, skipped)
    if not selected:
        raise _nothing(model, sites, skipped)
    plans = _plan(model, selected, operator, init, calibration, skipped)
    layers = [_layer(plan, operator, init, bias) for plan in plans]
    for plan, layer in zip(plans, layers, strict=True):
        adopt(layer, plan.site.module)
        put(plan.site, layer)
    remember(model, dict.fromkeys((plan.site.name for plan in plans), init))
    bounds = {p.site.name: float(p.low.max()) for p in plans if p.low is not None}
    return ConversionReport(
        operator=operator,
        init=init,
        replaced=tuple(plan.site.name for plan in plans),
        skipped={site.name: skipped[site.name] for site in sites if site.name in skipped},
        lower_bounds=bounds,
        proved=frozenset(plan.site.name for plan in plans if plan.proved),
    )


@dataclass(frozen=True)
class _Plan:
    site: Site
    low: Tensor | None = None
    seen: Observation | None = None
    proved: bool = False


def _validated(
    model: object, operator: object, where: object, init: object, calibration: object, bias: object
) -> Predicate:
    if not isinstance(model, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module", f"a {type(model).__name__}")
    if isinstance(model, Convolution):
        expected = "a network that holds convolutions; wrap a single one in nn.Sequential"
        raise InvalidArgument("model", expected, type(model).__name__)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise InvalidArgument("model", "the network before it is wrapped", type(model).__name__)
    if operator not in OPERATORS:
        raise unknown_name("operator", operator, OPERATORS)
    if init not in _INITS:
        raise unknown_name("init", init, _INITS)
    predicate = as_predicate(where)
    if calibration is not None:
        if init == "fresh":
            raise InvalidArgument(
                "calibration", "None with init='fresh'", f"a {type(calibration).__name__}"
            )
        if isinstance(calibration, str | bytes | Mapping) or not isinstance(calibration, Iterable):
            expected = "an iterable of input batches, or a tensor"
            raise InvalidArgument("calibration", expected, f"a {type(calibration).__name__}")
    if bias is not None and (init == "preserve" or not isinstance(bias, bool)):
        raise InvalidArgument("bias", "None, or with init='fresh' a bool", bias)
    return predicate


def _check_matches(where: Predicate, sites: list[Site]) -> None:
    if not isinstance(where, NamePattern) or any(where(site) for site in sites):
        return
    near = difflib.get_close_matches(where.pattern, [site.name for site in sites], n=3, cutoff=0.3)
    hint = f" (such as {', '.join(near)})" if near else ""
    expected = f"a pattern that matches one of the {len(sites)} convolutions{hint}"
    raise InvalidArgument("where", expected, repr(where.pattern))


def _nothing(model: nn.Module, sites: list[Site], skipped: Mapping[str, str]) -> InvalidArgument:
    """The error for a conversion that would replace nothing."""
    if not sites:
        kinds = Counter(type(m).__name__ for m in model.modules() if not list(m.children()))
        found = ", ".join(f"{count} {name}" for name, count in kinds.most_common(5))
        return InvalidArgument(
            "model", "a network with Conv1d, Conv2d or Conv3d layers", f"none (it has {found})"
        )
    reasons = Counter(skipped.values())
    found = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(5))
    chosen = all(reason.startswith(NOT_SELECTED) for reason in reasons)
    return InvalidArgument(
        "where" if chosen else "model",
        "a convolution to replace",
        f"{len(sites)} convolutions and none of them ({found})",
    )


def _select(
    model: nn.Module,
    sites: list[Site],
    operator: str,
    where: Predicate,
    skipped: dict[str, str],
) -> list[Site]:
    shared = shared_parameters(model)
    selected = []
    for site in sites:
        if not where(site):
            skipped[site.name] = f"{NOT_SELECTED} {where.name}"
            continue
        reason = obstacle(site, shared)
        if reason is None and site.dims not in LAYERS[operator]:
            reason = f"{operator} has no layer of {site.dims} dimension{'s' * (site.dims > 1)}"
        if reason is None:
            selected.append(site)
        else:
            skipped[site.name] = reason
    return selected


def _plan(
    model: nn.Module,
    selected: list[Site],
    operator: str,
    init: str,
    calibration: Iterable[Any] | Tensor | None,
    skipped: dict[str, str],
) -> list[_Plan]:
    if init == "preserve" and any(site.module.weight.is_meta for site in selected):
        raise InvalidArgument("init", "'fresh' for a model on the meta device", repr(init))
    if init == "fresh" or operator not in RECEPTIVE_FIELD_OPERATORS or not selected:
        return [_Plan(site) for site in selected]
    network = _runnable(model)
    seen: Mapping[str, Observation] = {}
    if calibration is None:
        intervals = prove(network, selected)
    else:
        seen = observe(network, selected, calibration)
        intervals = {name: observation.interval for name, observation in seen.items()}
    plans, unproved = [], []
    for site in selected:
        if site.name not in intervals:
            skipped[site.name] = "did not run in evaluation mode, so its inputs are not known"
            continue
        interval = intervals.get(site.name, UNKNOWN)
        observation = seen.get(site.name)
        low = lower_bounds(interval, observation, site.module.in_channels)
        if low is None:
            unproved.append(site.name)
        else:
            proved = interval.low > -torch.inf
            plans.append(_Plan(site, low, observation, proved))
    if unproved:
        names = ", ".join(unproved[:3]) + (", ..." if len(unproved) > 3 else "")
        expected = (
            f"batches of inputs, as the inputs of {names} have no lower bound that can be proved"
        )
        raise InvalidArgument("calibration", expected, calibration)
    return plans


def _runnable(model: nn.Module) -> nn.Module:
    # calling ultralytics' YOLO object predicts on files; its network is inside
    if any(kind.__module__ == "ultralytics.engine.model" for kind in type(model).__mro__):
        inner = model.model
        assert isinstance(inner, nn.Module)
        return inner
    return model


def _layer(plan: _Plan, operator: str, init: str, bias: bool | None) -> Any:
    convolution = plan.site.module
    if init == "preserve":
        with_bias = needs_bias(convolution, plan.low)
        layer = build(convolution, operator, bias=with_bias)
        preserve_(layer, convolution, operator, plan.low, plan.seen)
        return layer
    with_bias = convolution.bias is not None if bias is None else bias
    return build(convolution, operator, bias=with_bias)
