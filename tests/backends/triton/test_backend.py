"""What the backend says of itself, and the parts of it that need neither Triton nor a GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from rfaconv.backends.registry import BACKENDS, PRIORITY
from rfaconv.backends.triton import configs, registration, support
from rfaconv.geometry import Problem, Window

PROBLEM = Problem("project", "rfa", "cuda", "bfloat16", Window.create(3), 8, 8)
REFUSED = [
    (replace(PROBLEM, device="cpu"), "device: expected cuda, got cpu"),
    (replace(PROBLEM, dtype="float64"), "dtype: expected .* got float64"),
    (replace(PROBLEM, window=Window.create(7)), "kernel_size: expected 1, 3 or 5 .*7, 7"),
    (replace(PROBLEM, window=Window.create((3, 5))), "kernel_size: .*3, 5"),
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
def test_every_op_is_registered() -> None:
    for op in registration.KERNELS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"rfaconv::{op}", "CUDA"), op


def test_import_leaves_triton_alone() -> None:
    code = "import sys, rfaconv.backends.triton; assert 'triton' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("taps", [1, 9, 25])
@pytest.mark.parametrize("outputs", [1, 16, 33, 64, 100, 256, 512, 2048])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_table(dtype: str, outputs: int, taps: int) -> None:
    """Blocks are powers of two that a tensor core takes; the default is the first candidate."""
    yes = (False, True)
    for tensor_cores, variant, last, hopper in product(yes, ("rfa", "rfcbam", "rfca"), yes, yes):
        rest: dict[str, Any] = {
            "tensor_cores": tensor_cores,
            "variant": variant,
            "last": last,
            "hopper": hopper,
        }
        found = configs.project_candidates(dtype, taps, outputs, **rest)
        assert found[0] == configs.project(dtype, taps, outputs, **rest)
        assert len(found) == len(set(found)) or not tensor_cores or outputs <= 128
        for config in found:
            assert tensor_cores or config.way == "panel"
            if config.way != "panel":
                # eight channels of two taps at least are what a product takes
                channels = config.block_c * (2 if config.way == "blocks" else 1)
                for block in (config.block_p, channels, config.block_o):
                    assert block >= 16
                    assert block & (block - 1) == 0


@pytest.mark.skipif(not support.installed(), reason="needs Triton")
def test_tuning_file(tmp_path: Path) -> None:
    """Choices survive a round trip; a file of another format counts as none."""
    code = """
import sys
from pathlib import Path
from rfaconv.backends.triton import configs, tuning
path = Path(sys.argv[1]) / "deeper" / "choices.json"
assert tuning.read(path) == {}
best = configs.project("bfloat16", 9, 64, tensor_cores=True)
tuning.write(path, {"a": best})
assert tuning.read(path) == {"a": best}
assert [p.name for p in path.parent.iterdir()] == ["choices.json"]
for text in ("{", "[1]", '{"a": {"blocks": 3}}'):
    path.write_text(text)
    assert tuning.read(path) == {}, text
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "deeper" / "choices.json").read_text(encoding="utf-8"))
