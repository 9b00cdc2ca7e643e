"""Every configuration of the table compiles for sm_80 and sm_90 without spills.

The calls go through the library's own launch code, so what is compiled is what would run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from testing.triton_compiler import SHARED_LIMIT, Recorder

from rfaconv.backends.triton import support
from rfaconv.backends.triton.common import configs, operands
from rfaconv.backends.triton.common.operands import Geometry, new_map
from rfaconv.backends.triton.fold import launch as fold
from rfaconv.backends.triton.linked import launch as linked
from rfaconv.backends.triton.moments import launch as moments
from rfaconv.backends.triton.project import backward
from rfaconv.backends.triton.project import launch as project
from rfaconv.backends.triton.stats import backward as stats_backward
from rfaconv.backends.triton.stats import launch as stats
from rfaconv.geometry import Window

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


@dataclass(frozen=True)
class Call:
    """Operands of one call; sizes as in a network, so that strides divide as they do there.

    ``side`` is both height and width.
    """

    variant: str = "rfa"
    kernel: int = 3
    stride: int = 1
    dtype: torch.dtype = BF16
    channels: int = 64
    outputs: int = 64
    last: bool = True
    batch: int = 2
    side: int = 14

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        layout = "nhwc" if self.last else "nchw"
        return (
            f"{self.variant}-k{self.kernel}-s{self.stride}-C{self.channels}-O{self.outputs}"
            f"-{dtype}-{layout}"
        )

    @property
    def window(self) -> list[int]:
        return Window.create(self.kernel, self.stride).to_ints()

    def map(self, channels: int, side: int) -> torch.Tensor:
        format = torch.channels_last if self.last else torch.contiguous_format
        size = (self.batch, channels, side, side)
        return torch.zeros(size, dtype=self.dtype).to(memory_format=format)

    def operands(self) -> dict[str, Any]:
        b, c, t, out = self.batch, self.channels, self.kernel**2, self.side // self.stride
        gates = {
            "none": [],
            "rfa": [torch.zeros(c, t)],
            "rfcbam": [torch.zeros(b, c), torch.zeros(b, t, out, out)],
            "rfca": [torch.zeros(b, c, self.kernel * out), torch.zeros(b, c, self.kernel * out)],
        }
        return {
            "x": self.map(c, self.side),
            "feature_weight": torch.zeros(c, t, t),
            "feature_bias": torch.zeros(c, t),
            "gate": gates[self.variant],
            "weight": torch.zeros(self.outputs, c, self.kernel, self.kernel, dtype=self.dtype),
        }

    def forward(self, wide: bool = False, hopper: bool = True) -> None:
        """What the table has, and the panel, which more outputs take."""
        given = self.operands()
        geometry = Geometry.of(given["x"], self.window)
        geometry = replace(geometry, wide=True) if wide else geometry
        y = new_map(given["x"], (self.batch, self.outputs, *geometry.out))
        chosen = configs.project(
            str(self.dtype).removeprefix("torch."),
            self.kernel**2,
            self.outputs,
            tensor_cores=True,
            variant=self.variant,
            channels=self.channels,
            last=operands.channels_last(given["x"]),
            hopper=hopper,
        )
        for config in {chosen, configs.ProjectConfig("panel")}:
            bias = torch.zeros(self.outputs, dtype=self.dtype)
            project.run_project(
                *(given[n] for n in ("x", "feature_weight", "feature_bias", "gate", "weight")),
                bias, y, self.variant, geometry, config,
            )  # fmt: skip

    def backward(self) -> None:
        dy = self.map(self.outputs, self.side // self.stride)
        backward.project_backward(
            dy, *self.operands().values(), self.variant, 1, self.window, [True] * 5
        )

    def moments(self) -> None:
        x = self.operands()["x"]
        mean, cov = moments.patch_moments(x, self.window)
        moments.patch_moments_backward(mean, cov, x, mean, self.window)

    def fold(self) -> None:
        _, weight, bias, *_ = self.operands().values()
        mean, cov = bias.double(), weight.double()
        fold.fold_statistics(weight, mean, cov, bias, bias, 1e-5)
        fold.fold_statistics_backward(weight, bias, weight, mean, cov, bias, bias, 1e-5)
        running, count = torch.zeros(mean.numel()), self.batch * self.side**2
        for momentum in (0.1, None):
            seen = torch.tensor(0)
            fold.update_running(running, running, seen, mean, mean, count, momentum)

    def stats(self) -> None:
        x, weight, bias, *_ = self.operands().values()
        s = stats.feature_stats(x, weight, bias, self.variant, self.window)
        stats_backward.feature_stats_backward(*s, x, weight, bias, s[0], self.variant, self.window)

    def linked(self) -> None:
        x, weight, bias, gate, k = self.operands().values()
        own, rest = (x, weight, bias), (self.variant, self.window)
        s0, s1 = stats.feature_stats(*own, *rest)
        dy = self.map(self.outputs, self.side // self.stride)
        d_panel = linked.project_linked_backward(dy, *own, gate, k, *rest)[0]
        linked.feature_stats_linked_backward(s0, s1, d_panel, gate, *own, s0, *rest)

    def fold_running(self) -> None:
        weight = self.operands()["feature_weight"].to(self.dtype)
        norm = [weight.new_zeros(self.channels * self.kernel**2) for _ in range(4)]
        fold.fold_running(weight, norm, 1e-5)
        fold.fold_running(weight, [*norm[:2], None, None], 1e-5)

    def stats_of_inference(self) -> None:
        x, *weights = (self.operands()[n] for n in ("x", "feature_weight", "feature_bias"))
        stats.feature_stats(x, *(w.to(x.dtype) for w in weights), self.variant, self.window)


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compile_all(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Compiles what the calls launch and judges every kernel."""
    monkeypatch.setattr(support, "hopper", lambda _: request.param >= 90)

    def run(*calls: Callable[[], None]) -> None:
        with Recorder(request.param) as recorder:
            for call in calls:
                call()
        assert recorder.found
        for kernel in recorder.found.values():
            assert kernel.stack == 0, f"{kernel} spills"
            assert kernel.local == 0, f"{kernel} uses local memory"
            assert kernel.shared <= SHARED_LIMIT[request.param], f"{kernel} takes too much"
            assert kernel.registers * kernel.threads <= 65536, f"{kernel} does not fit"

    return run


FORWARD = [
    *(Call(outputs=outputs) for outputs in (16, 32, 64, 128, 256)),
    *(Call(outputs=outputs, dtype=F32) for outputs in (16, 64, 128)),
    Call(outputs=256, kernel=1),
    *(Call(variant=v, outputs=o) for v in ("rfcbam", "rfca") for o in (64, 128, 256)),
    *(Call(variant="none", outputs=outputs) for outputs in (64, 256)),
    # the number of channels is a constant to these kernels, and so is whether outputs fill blocks
    Call(variant="rfcbam", channels=48, outputs=100, dtype=F16, stride=2),
    Call(channels=512, outputs=512),
    Call(dtype=F16, stride=2, last=False, channels=3),
    Call(last=False, outputs=256),
    *(Call(variant=v, channels=24, outputs=o) for v, o in (("rfa", 64), ("rfca", 128))),
]


@pytest.mark.parametrize("call", FORWARD, ids=str)
def test_projection(
    call: Call, compile_all: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    hopper = "sm_90" in request.node.name
    compile_all(lambda: call.forward(hopper=hopper))


BACKWARD = [
    Call(),
    Call(dtype=F32, stride=2, last=False, channels=3),
    Call(kernel=1),
    *(Call(variant=variant) for variant in ("rfcbam", "rfca", "none")),
    Call(channels=24),
]


@pytest.mark.parametrize("call", BACKWARD, ids=str)
def test_backward(call: Call, compile_all: Callable[..., None]) -> None:
    compile_all(call.backward)


@pytest.mark.parametrize(
    "call",
    [*(c for c in BACKWARD if c.variant == "rfa"), Call(stride=2), Call(channels=40, last=False)],
    ids=str,
)
def test_moments(call: Call, compile_all: Callable[..., None]) -> None:
    compile_all(call.moments, call.fold, call.fold_running)


STATS = [
    *(Call(variant=variant) for variant in ("rfcbam", "rfca")),
    Call(variant="rfcbam", stride=2, dtype=F16, channels=48),
]


@pytest.mark.parametrize("call", STATS, ids=str)
def test_stats(call: Call, compile_all: Callable[..., None]) -> None:
    compile_all(call.stats, call.stats_of_inference)


LINKED = [
    *(Call(variant=variant) for variant in ("rfcbam", "rfca")),
    Call(variant="rfcbam", stride=2, dtype=F16, channels=24),
    Call(variant="rfcbam", dtype=F32, last=False, channels=3),
    Call(variant="rfca", stride=2, dtype=F32, last=False, channels=24),
]


@pytest.mark.parametrize("call", LINKED, ids=str)
def test_linked(call: Call, compile_all: Callable[..., None]) -> None:
    compile_all(call.linked)


ONE = Call(channels=1, outputs=1, batch=1, side=1, last=False)
SIZES_OF_ONE = [
    ONE,
    replace(ONE, dtype=F32, variant="rfcbam"),
    replace(ONE, variant="rfca"),
    replace(ONE, channels=16, last=True),
    replace(ONE, channels=16, last=True, variant="rfcbam"),
]


@pytest.mark.parametrize("call", SIZES_OF_ONE, ids=str)
def test_sizes_of_one(call: Call) -> None:
    """Arguments that are 1 are constants to the compiler: no conversion, no type of a loop's state
    may count on tensors. The interpreter makes no such difference. Features as a product take
    eight channels at least, and only the forward pass has them.
    """
    with Recorder(90) as recorder:
        call.forward()
        if call.channels == 1:
            call.backward()
            own = (call.moments, call.fold)
            for made in own if call.variant == "rfa" else (call.stats, call.linked):
                made()
        elif call.variant != "rfa":
            call.stats_of_inference()
    assert recorder.found


def test_wide_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of 2**31 elements and more take 64-bit offsets everywhere."""
    of = Geometry.of
    wide = staticmethod(lambda *args: replace(of(*args), wide=True))
    monkeypatch.setattr(operands.Geometry, "of", wide)
    with Recorder(90) as recorder:
        Call().forward(wide=True)
        Call().backward()
        Call().moments()
        Call(stride=2).moments()
        Call(variant="rfcbam").stats()
        Call(variant="rfcbam").stats_of_inference()
        Call(variant="rfcbam").linked()
        Call(variant="rfca").linked()
    spilled = {k.kernel: k.stack for k in recorder.found.values() if k.stack or k.local}
    assert recorder.found
    assert not spilled
