"""Runs the cases: parity first, then times, then memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.backends.cases import Case, parity
from rfaconv.bench.cases import SIDES, BenchCase
from rfaconv.bench.environment import describe
from rfaconv.bench.memory import PEAK_KNOWN, peak_bytes, saved_bytes
from rfaconv.bench.sides import build, runtime
from rfaconv.bench.timing import alternate
from rfaconv.errors import RFAConvError, unknown_name
from rfaconv.geometry import Window

__all__ = ["Settings", "gate", "run"]

RUNTIMES = ("onnxruntime", "openvino")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        operators: Of ``rfa``, ``rfcbam``, ``rfca``.
        sides: Of :data:`rfaconv.bench.cases.SIDES`.
        modes: Of ``inference`` and ``training`` (forward and backward, BatchNorm in training).
        batch: Images.
        channels_last: Memory format of the input.
        dtype: ``float32`` or ``bfloat16``, of input and parameters on all sides.
        seconds: Time per case, operator and mode, over all sides.
        memory: Whether to measure saved bytes and, for networks, peak memory.
        clock: ``wall``, or ``cpu`` for the processor time of this process: with one thread it is
            right on a machine that others use too.
    """

    operators: tuple[str, ...] = ("rfa",)
    sides: tuple[str, ...] = ("conv", "published", "reference", "fused")
    modes: tuple[str, ...] = ("inference", "training")
    batch: int = 8
    channels_last: bool = False
    dtype: str = "float32"
    seconds: float = 3.0
    memory: bool = True
    clock: str = "wall"


def gate(
    case: BenchCase, operator: str, training: bool, dtype: torch.dtype = torch.float32
) -> list[str]:
    """Compares the kernels of a layer with the reference, on this layer's channels and window.

    Returns:
        What failed; empty if the case may be timed.
    """
    size = min(case.size, 28)
    problem = Case(
        variant=operator,
        batch=2,
        channels=case.in_channels,
        out_channels=case.out_channels,
        size=(size, size),
        window=Window.create(case.kernel, case.stride),
        dtype=dtype,
    )
    problems = [problem]
    if operator != "rfa":
        problems.append(replace(problem, op="feature_stats"))
    if training:
        problems.append(replace(problem, op="patch_moments"))
    rows = [row for p in problems for row in parity(p, gradients=training)]
    return [str(row) for row in rows if not row.passed]


def _gate_network(case: BenchCase, operator: str) -> list[str]:
    """The same network with and without the kernels, one image."""
    x = torch.randn(1, case.in_channels, case.size, case.size)
    with torch.no_grad():
        fused = build(case, "fused", operator, False)(x)
        plain = build(case, "reference", operator, False)(x)
    error = float((fused - plain).abs().max() / plain.abs().max())
    return [] if error < 1e-4 else [f"output differs from the reference by {error:.1e}"]


def _step(module: nn.Module, x: Tensor, training: bool) -> Callable[[], object]:
    if not training:

        def forward() -> object:
            with torch.no_grad():
                return module(x)

        return forward
    with torch.no_grad():
        dy = torch.randn_like(module(x))
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def step() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        module(leaf).backward(dy)

    return step


def run(
    cases: Sequence[BenchCase],
    settings: Settings,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures all cases.

    Returns:
        ``environment``, ``settings`` and ``rows``; a row says ``ok``, ``refused`` (parity failed:
        no time is given), ``skipped`` or ``error``, and why.

    Raises:
        InvalidArgument: an unknown side, clock or dtype.
    """
    for side in settings.sides:
        if side not in SIDES:
            raise unknown_name("sides", side, SIDES)
    if settings.clock not in CLOCKS:
        raise unknown_name("clock", settings.clock, CLOCKS)
    if settings.dtype not in DTYPES:
        raise unknown_name("dtype", settings.dtype, DTYPES)
    rows: list[dict[str, Any]] = []
    for case in cases:
        for operator in settings.operators:
            for mode in settings.modes:
                progress(f"{case.name}, {operator}, {mode}")
                rows.extend(_measure(case, operator, mode, settings))
                gc.collect()
    return {"environment": describe(), "settings": asdict(settings), "rows": rows}


def _measure(
    case: BenchCase, operator: str, mode: str, settings: Settings
) -> Iterator[dict[str, Any]]:
    training = mode == "training"
    common = {
        "case": case.name,
        "operator": operator,
        "mode": mode,
        "batch": settings.batch,
        "floor": None if case.network or training else case.floor,
    }
    dtype = DTYPES[settings.dtype]
    failures = (
        _gate_network(case, operator) if case.network else gate(case, operator, training, dtype)
    )
    x = torch.randn(settings.batch, case.in_channels, case.size, case.size, dtype=dtype)
    if settings.channels_last:
        x = x.to(memory_format=torch.channels_last)
    functions: dict[str, Callable[[], object]] = {}
    modules: dict[str, nn.Module] = {}
    notes: dict[str, tuple[str, str]] = {}
    for side in dict.fromkeys(("conv", *settings.sides)):
        if side == "fused" and failures:
            notes[side] = ("refused", "; ".join(failures))
            continue
        if side in RUNTIMES and training:
            notes[side] = ("skipped", "inference only")
            continue
        if side in RUNTIMES and dtype is not torch.float32:
            notes[side] = ("skipped", "float32 only")
            continue
        try:
            functions[side] = _prepare(case, side, operator, x, training, modules)
        except ImportError as error:
            notes[side] = ("skipped", f"not installed: {error.name}")
        except (RFAConvError, RuntimeError) as error:
            notes[side] = ("error", f"{type(error).__name__}: {error}"[:500])
    clock = CLOCKS[settings.clock]
    timings = alternate(functions, "conv", seconds=settings.seconds, clock=clock)
    for side, timing in timings.items():
        row = {**common, "side": side, "status": "ok", "note": "", "rounds": timing.rounds}
        row |= {"ms": asdict(timing.milliseconds), "ratio": asdict(timing.ratio)}
        if training and settings.memory and side in modules:
            row["saved_bytes"] = saved_bytes(modules[side], x.detach().requires_grad_())
        if case.network and settings.memory and PEAK_KNOWN and side in modules:
            row["peak_bytes"] = peak_bytes(case, side, operator, settings.batch, training)
        yield row
    for side, (status, note) in notes.items():
        yield {**common, "side": side, "status": status, "note": note}


def _prepare(
    case: BenchCase,
    side: str,
    operator: str,
    x: Tensor,
    training: bool,
    modules: dict[str, nn.Module],
) -> Callable[[], object]:
    source = "published" if side in ("compiled", *RUNTIMES) else side
    module = build(case, source, operator, training).to(x.dtype)
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        module = module.to(memory_format=torch.channels_last)
    if side in RUNTIMES:
        return runtime(side, module, x.contiguous(), torch.get_num_threads())
    if side == "compiled":
        compiled: Any = torch.compile(module)
        return _step(compiled, x, training)
    modules[side] = module
    return _step(module, x, training)
