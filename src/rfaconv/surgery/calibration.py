"""Observes the inputs of convolutions while a network runs on calibration batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.reference.features import pad, tap_slice
from rfaconv.surgery.bounds import UNKNOWN, BoundsMode, Interval
from rfaconv.surgery.sites import Convolution, Site

_EXAMPLE_SIZES = {1: 4096, 2: 128, 3: 64}
"""Sides of a made-up input by its dimensions: even the deepest map has more than one value."""


@dataclass
class Observation:
    """What was seen at the input of one convolution with C channels and T taps.

    Attributes:
        interval: values that the input can have for any input of the network.
        low: smallest value of each channel (C,), float64.
        high: largest value of each channel (C,), float64.
        mean: mean of each tap (C, T), averaged over the calls, float64.
        var: unbiased variance of each tap (C, T), averaged over the calls, float64.
        calls: how often the convolution ran.
    """

    interval: Interval = UNKNOWN
    low: Tensor | None = None
    high: Tensor | None = None
    mean: Tensor | None = None
    var: Tensor | None = None
    calls: int = 0

    def add(self, x: Tensor, interval: Interval, window: Window, padding_mode: str) -> None:
        """Takes one input (B, C, *size) into account."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        low, high = (t.double() for t in torch.aminmax(x.transpose(0, 1).flatten(1), dim=1))
        mean, var = tap_statistics(x, window, padding_mode)
        if self.low is None or self.high is None or self.mean is None or self.var is None:
            self.interval, self.low, self.high, self.mean, self.var = interval, low, high, mean, var
        else:
            self.interval = self.interval.union(interval)
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
            weight = 1.0 / (self.calls + 1)
            self.mean = self.mean.lerp(mean, weight)
            self.var = self.var.lerp(var, weight)
        self.calls += 1


def tap_statistics(x: Tensor, window: Window, padding_mode: str) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of what each tap of the window sees, (C, T) each, float64."""
    if padding_mode == "zeros":
        x = pad(x, window)
    else:
        x = F.pad(x, [s for pair in reversed(window.padding) for s in pair], mode=padding_mode)
    means, variances = [], []
    for index in window.tap_indices():
        tap = x[tap_slice(index, window)]
        single = tap.numel() == tap.shape[1]
        var, mean = torch.var_mean(
            tap, dim=(0, *range(2, tap.dim())), correction=0 if single else 1
        )
        means.append(mean)
        variances.append(var)
    return torch.stack(means, 1).double(), torch.stack(variances, 1).double()


@dataclass
class Observer:
    """Collects an :class:`Observation` for each of some convolutions."""

    sites: Sequence[Site]
    found: dict[str, Observation] = field(default_factory=dict)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watches all forward passes inside the context."""
        with BoundsMode() as bounds:
            handles = [
                site.module.register_forward_pre_hook(self._hook(site, bounds), with_kwargs=True)
                for site in self.sites
            ]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def _hook(self, site: Site, bounds: BoundsMode) -> Any:
        module = site.module
        window = _window_of(module)

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs["input"]
            interval = bounds.of(x)
            if x.dim() == window.dims + 1:
                x = x.unsqueeze(0)
            if x.numel():
                observation = self.found.setdefault(site.name, Observation())
                observation.add(x.detach(), interval, window, module.padding_mode)

        return hook


def _window_of(module: Convolution) -> Window:
    geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
    return Window.create(*geometry, dims=len(module.kernel_size))


def observe(
    model: nn.Module, sites: Sequence[Site], calibration: Iterable[Any] | Tensor
) -> dict[str, Observation]:
    """Runs the network in evaluation mode on calibration batches and observes its convolutions.

    Args:
        model: the network; its training flags are as before afterwards.
        sites: the convolutions to watch.
        calibration: batches. A tensor is the input itself; of a tuple or list the first entry is
            (as a DataLoader yields images and labels); a mapping holds keyword arguments.

    Returns:
        Observation by name, for those convolutions that ran.

    Raises:
        InvalidArgument: if there is no batch, or a batch leads to values that are not finite.
    """
    observer = Observer(sites)
    batches = 0
    with _evaluating(model), torch.no_grad(), observer.watch():
        for batch in [calibration] if isinstance(calibration, Tensor) else calibration:
            args, kwargs = _call_arguments(batch, model)
            model(*args, **kwargs)
            batches += 1
    if batches == 0:
        raise InvalidArgument("calibration", "at least one batch of inputs", "none")
    for name, seen in observer.found.items():
        assert seen.low is not None and seen.high is not None
        if not (seen.low.isfinite().all() and seen.high.isfinite().all()):
            raise InvalidArgument(
                "calibration", f"finite values at the input of {name}", "NaN or infinite ones"
            )
    return observer.found


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def _call_arguments(batch: Any, model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    like = next((p for p in model.parameters() if p.is_floating_point()), None)

    def fit(value: Any) -> Any:
        if isinstance(value, Tensor) and like is not None:
            return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
        if isinstance(value, list):
            return [fit(entry) for entry in value]
        return value

    if isinstance(batch, Tensor):
        return (fit(batch),), {}
    if isinstance(batch, Mapping):
        return (), {key: fit(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list) and batch:
        return (fit(batch[0]),), {}
    expected = "batches that are tensors, (input, ...) tuples or mappings of keyword arguments"
    raise InvalidArgument("calibration", expected, f"a {type(batch).__name__}")


def prove(model: nn.Module, sites: Sequence[Site]) -> dict[str, Interval]:
    """Bounds of the inputs of convolutions from the structure of the network alone.

    Runs the network once on a made-up input to learn the order of its operations.

    Returns:
        Interval by name, for those convolutions that ran.

    Raises:
        InvalidArgument: if the network does not run on such an input.
    """
    image = _example(model, sites)
    try:
        found = observe(model, sites, image)
    except InvalidArgument:
        raise
    except Exception as error:  # whatever the network raises, the user has to hear of it
        shape = tuple(image.shape)
        expected = f"batches of inputs, as the network does not run on an example of shape {shape}"
        raise InvalidArgument(
            "calibration", expected, f"None ({type(error).__name__}: {error})"
        ) from error
    return {name: seen.interval for name, seen in found.items()}


def _example(model: nn.Module, sites: Sequence[Site]) -> Tensor:
    like = sites[0].module.weight
    config = getattr(model, "pretrained_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, Mapping) else None
    if config.get("fixed_input_size", False) and size:
        shape = tuple(size)
    else:
        stem = next(m for m in model.modules() if isinstance(m, Convolution))
        dims = len(stem.kernel_size)
        shape = (stem.in_channels, *(_EXAMPLE_SIZES[dims],) * dims)
    return torch.zeros((1, *shape), device=like.device, dtype=like.dtype)
