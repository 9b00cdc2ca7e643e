"""What the backend says of itself, and the parts of it that need neither Triton nor a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
import torch

from rfaconv import ops
from rfaconv.backends.registry import BACKENDS, PRIORITY
from rfaconv.backends.triton import registration, support
from rfaconv.backends.triton.common import configs
from rfaconv.geometry import Problem, Window

PROBLEM = Problem("project", "rfa", "cuda", "bfloat16", Window.create(3), 8, 8)
REFUSED = [
    (replace(PROBLEM, device="cpu"), "device: expected cuda, got cpu"),
    (replace(PROBLEM, dtype="float64"), "dtype: expected .* got float64"),
    (replace(PROBLEM, window=Window.create(5)), "kernel_size: expected 1 or 3 .*5, 5"),
    (replace(PROBLEM, window=Window.create((1, 3))), "kernel_size: .*1, 3"),
    (replace(PROBLEM, window=Window.create(3, 1, 1, (1, 2))), "dilation along rows: .* got 2"),
    (replace(PROBLEM, window=Window.create(3, dims=1)), "spatial dimensions: expected 2, got 1"),
    (replace(PROBLEM, groups=2), "groups: expected 1, got 2"),
    (replace(PROBLEM, variant="cbam"), "variant: expected .* got 'cbam'"),
]


@pytest.mark.parametrize(
    ("problem", "reason"), REFUSED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_refusals(problem: Problem, reason: str) -> None:
    said = BACKENDS["triton"].refusal(problem)
    assert said is not None
    assert re.search(reason, said), said


def test_machine_decides_the_rest() -> None:
    """Without a device the reason says so; with one nothing is left to refuse."""
    assert BACKENDS["triton"].refusal(PROBLEM) == support.refusal()
    assert BACKENDS["triton"].status().available == (support.refusal() is None)
    assert support.refusal() is None or not torch.cuda.is_available()
    assert "triton" in BACKENDS["triton"].status().details


def test_cuda_comes_first() -> None:
    assert PRIORITY[0] == "triton"


@pytest.mark.skipif(not support.installed(), reason="needs Triton")
def test_every_kernel_is_there() -> None:
    """For every op a function of its name."""
    assert set(registration.KERNELS) == set(ops.NAMES)
    code = """
from importlib import import_module
from rfaconv.backends.triton.registration import KERNELS
for op, module in KERNELS.items():
    assert callable(getattr(import_module(f"rfaconv.backends.triton.{module}"), op)), op
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_import_leaves_triton_alone() -> None:
    code = "import sys, rfaconv.backends.triton; assert 'triton' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("taps", [1, 9])
@pytest.mark.parametrize("outputs", [1, 16, 33, 64, 100, 256, 512, 2048])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_table(dtype: str, outputs: int, taps: int) -> None:
    """Blocks are powers of two that a tensor core takes; the panel needs none."""
    yes = (False, True)
    for tensor_cores, variant, last, hopper in product(yes, ("rfa", "rfcbam", "rfca"), yes, yes):
        config = configs.project(
            dtype, taps, outputs, tensor_cores=tensor_cores, variant=variant, last=last,
            hopper=hopper,
        )  # fmt: skip
        assert tensor_cores or config.path == "panel"
        if config.path != "panel":
            # eight channels of two taps at least are what a product takes
            channels = config.block_c * (2 if config.path == "tensor_cores" else 1)
            for block in (config.block_p, channels, config.block_o):
                assert block >= 16
                assert block & (block - 1) == 0
