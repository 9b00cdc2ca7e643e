"""One layer of every operator on every backend that is available: does it compute and learn?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from rfaconv import dispatch, nn
from rfaconv.geometry import Problem, Window

LAYERS = {"rfa": nn.RFAConv2d, "rfcbam": nn.RFCBAMConv2d, "rfca": nn.RFCAConv2d}
STEPS = ("inference", "training")
CHANNELS = 16


def layer_rows() -> Iterator[dict[str, Any]]:
    """A row per backend and operator, with the error of inference and of a training step, or None.

    ``hesitation`` says why ``auto`` passes the backend by, where it does.
    """
    for status in dispatch.available():
        if not status.available:
            continue
        for operator in LAYERS:
            device, hesitation = _device(status.name, operator)
            errors = {step: _error(operator, status.name, device, step) for step in STEPS}
            yield {
                "backend": status.name,
                "operator": operator,
                "device": device,
                "hesitation": hesitation,
                **errors,
            }


def _device(backend: str, operator: str) -> tuple[str, str | None]:
    """The kind of device that a backend takes the operator on, and why ``auto`` would not."""
    if backend in dispatch.BACKENDS:
        for device in ("cpu", "cuda", "mps"):
            window = Window.create(3, 1, 1)
            problem = Problem("project", operator, device, "float32", window, CHANNELS, CHANNELS)
            if dispatch.BACKENDS[backend].refusal(problem) is None:
                return device, dispatch.BACKENDS[backend].hesitation(problem)
    return "cpu", None


def _error(operator: str, backend: str, device: str, step: str) -> str | None:
    training = step == "training"
    try:
        layer = LAYERS[operator](CHANNELS, CHANNELS, 3, padding=1, backend=backend)
        layer = layer.to(device).train(training)
        x = torch.randn(2, CHANNELS, 16, 16, device=device, requires_grad=training)
        with torch.set_grad_enabled(training):
            y = layer(x)
        results = {"the output": y.detach()}
        if training:
            y.square().mean().backward()
            gradients = {"the input": x.grad, **{n: p.grad for n, p in layer.named_parameters()}}
            for name, gradient in gradients.items():
                if gradient is None:
                    return f"{name} has no gradient"
                results[f"the gradient of {name}"] = gradient
        bad = [name for name, value in results.items() if not bool(value.isfinite().all())]
    except Exception as error:  # whatever it is, it is what doctor was asked for
        return f"{type(error).__name__}: {error}"
    return f"not finite: {', '.join(bad)}" if bad else None
