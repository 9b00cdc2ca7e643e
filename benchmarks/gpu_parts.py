"""The parts of ``gpu.py``: stopwatch, ceilings, timing of sides, memory, a short training run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from gpu_network import resnet18, with_timm
from torch import Tensor, nn

from rfaconv.bench.cases import BenchCase
from rfaconv.bench.memory import saved_bytes
from rfaconv.bench.sides import build
from rfaconv.bench.timing import Spread, seconds_of

Step = Callable[[], object]


class Stopwatch:
    """Milliseconds on the device: CUDA events, or the clock of the processor for a dry run."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self, step: Step, repeats: int) -> float:
        """Per call, over ``repeats`` calls that are queued together."""
        if not self.cuda:
            return 1e3 * seconds_of(step, repeats)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            step()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / repeats


def alternate(
    steps: Mapping[str, Step], baseline: str, watch: Stopwatch, rounds: int, sample_ms: float
) -> dict[str, dict[str, Any]]:
    """Times the sides in turn; medians and quartiles of milliseconds and of ratios per round."""
    repeats = {}
    for name, step in steps.items():
        for _ in range(3):
            step()
        watch.synchronize()
        once = max(watch.milliseconds(step, 1), 1e-3)
        repeats[name] = max(1, min(200, round(sample_ms / once)))
    samples: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        for name in order:
            samples[name].append(watch.milliseconds(steps[name], repeats[name]))
        order = order[1:] + order[:1]
    base = samples[baseline]
    result = {}
    for name, values in samples.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        result[name] = {"ms": vars(Spread.of(values)), "ratio": vars(Spread.of(ratios))}
    return result


def ceilings(device: torch.device, dtype: torch.dtype, watch: Stopwatch) -> dict[str, float]:
    """Measured bytes/s of a copy and operations/s of a matrix product."""
    small = device.type != "cuda"
    source = torch.empty(2**20 if small else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    n = 256 if small else 8192
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    copy, product = lambda: target.copy_(source), lambda: torch.mm(a, b, out=out)
    for step in (copy, product):
        for _ in range(3):
            step()
    watch.synchronize()
    seconds = [
        statistics.median(watch.milliseconds(step, 5) for _ in range(5)) / 1e3
        for step in (copy, product)
    ]
    return {
        "copy_bytes_per_s": 2 * source.numel() / seconds[0],
        "product_flops_per_s": 2 * n**3 / seconds[1],
    }


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to ``dtype``; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def prepare(
    case: BenchCase,
    side: str,
    operator: str,
    training: bool,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[nn.Module, Tensor, Step]:
    """Module, input and step of one side.

    ``conv`` is NCHW, ``conv-nhwc`` what cuDNN does best; the others take channels_last as well. The
    map arrives in ``dtype``: in inference so do the parameters, in training autocast casts them.
    """
    source = {"conv-nhwc": "conv", "compiled": "published"}.get(side, side)
    if case.network == "resnet18" and not with_timm():
        torch.manual_seed(0)
        module: nn.Module = resnet18(source, operator, case.out_channels).train(training)
    else:
        module = build(case, source, operator, training)
    module = module.to(device)
    x = torch.randn(batch, case.in_channels, case.size, case.size, device=device).to(dtype)
    if side != "conv":
        x = x.to(memory_format=torch.channels_last)
        module = module.to(memory_format=torch.channels_last)
    if not training:
        module = module.to(dtype)
    called: Any = torch.compile(module) if side == "compiled" else module
    if not training:

        def forward() -> None:
            with torch.no_grad():
                called(x)

        return module, x, forward
    with torch.no_grad(), autocast(device, dtype):
        dy = torch.randn_like(module(x))
    leaf = x.detach().clone(memory_format=torch.preserve_format)
    leaf.requires_grad_(not case.network)

    def step() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        with autocast(device, dtype):
            y = called(leaf)
        y.backward(dy)

    return module, leaf, step


def captured(step: Step, cuda: bool) -> Step | None:
    """The same step as one CUDA graph, without the time that launches take; None on CPU."""
    if not cuda:
        return None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def kept(module: nn.Module, x: Tensor, device: torch.device, dtype: torch.dtype) -> int:
    """Bytes kept for the backward pass of one training step."""
    with autocast(device, dtype):
        return saved_bytes(module, x)


def peak(step: Step, device: torch.device) -> int | None:
    """Peak bytes that a step allocates above what was allocated before it; None on CPU."""
    if device.type != "cuda":
        return None
    step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def convergence(
    steps: int, device: torch.device, dtype: torch.dtype, size: int, batch: int
) -> dict[str, Any]:
    """Trains ``rfa_resnet18`` twice from one start, with the kernels and without.

    The images are noise around a pattern per class, so the loss falls. Returns both loss curves.
    """
    classes = 10
    case = BenchCase("rfa_resnet18", 3, classes, size, network="resnet18")
    curves: dict[str, list[float]] = {}
    for side in ("reference", "fused"):
        torch.manual_seed(0)
        net = build(case, side, "rfa", True) if with_timm() else resnet18(side, "rfa", classes)
        net = net.to(device).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
        generator = torch.Generator().manual_seed(1)
        patterns = torch.randn(classes, 3, size, size, generator=generator)
        losses = []
        for _ in range(steps):
            labels = torch.randint(classes, (batch,), generator=generator)
            noise = torch.randn(batch, 3, size, size, generator=generator)
            images = (0.5 * patterns[labels] + noise).to(device)
            with autocast(device, dtype):
                loss = nn.functional.cross_entropy(net(images).float(), labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        curves["kernels" if side == "fused" else "reference"] = torch.stack(losses).tolist()
    ends = {name: statistics.mean(curve[-20:]) for name, curve in curves.items()}
    return {"losses": curves, "mean_of_last_20": ends}
