"""Threads and processes: one OpenMP pool, workers of every kind, several Python threads at once,
every ISA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rfaconv import RFAConv2d
from rfaconv.backends.cases import Case, draw, evaluate
from rfaconv.backends.cpu import library

pytestmark = pytest.mark.usefixtures("cpu_library")


def _run(code: str, folder: Path, **environment: str) -> str:
    """Runs a program of its own, so that its fork and its pools are not those of pytest."""
    program = folder / "program.py"
    program.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        timeout=180,
        env={**os.environ, **environment},
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


ISA = """
import json
from rfaconv.backends import selftest
from rfaconv.backends.cpu import BACKEND
rows = [row for row in selftest() if row.backend == "cpu"]
failed = [f"{row.case}: {row.detail}" for row in rows if row.passed is not True]
print(json.dumps({"isa": BACKEND.status().details["isa"], "cases": len(rows), "failed": failed}))
"""


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "avx512_bf16", "amx", "neon"])
def test_every_instruction_set(isa: str, tmp_path: Path) -> None:
    result = json.loads(_run(ISA, tmp_path, RFACONV_CPU_ISA=isa))
    if result["isa"] != isa:
        pytest.skip(f"this processor has no {isa}")
    assert result["cases"] > 30
    assert result["failed"] == []


SCALAR = """
import torch
from torch.utils._python_dispatch import TorchDispatchMode
import rfaconv

class Ours(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        seen.add(function.namespace)
        return function(*args, **(kwargs or {}))

for name in ("RFAConv2d", "RFCBAMConv2d", "RFCAConv2d"):
    for backend, ours in (("auto", False), ("cpu", True)):
        for training in (True, False):
            layer = getattr(rfaconv, name)(4, 4, 3, backend=backend).train(training)
            seen = set()
            with torch.set_grad_enabled(training), Ours():
                y = layer(torch.randn(2, 4, 7, 6))
                if training:
                    y.sum().backward()
            assert ("rfaconv" in seen) is ours, (name, backend, training, seen)
"""


@pytest.mark.usefixtures("cpu_library")
def test_auto_leaves_scalar_kernels_to_those_who_name_them(tmp_path: Path) -> None:
    _run(SCALAR, tmp_path, RFACONV_CPU_ISA="scalar")


POOL = """
import os, threading
import torch
torch.set_num_threads(2)
a = torch.randn(512, 512)
(a @ a).relu().sum()
torch.nn.functional.conv2d(torch.randn(4, 64, 32, 32), torch.randn(64, 64, 3, 3))
before = len(os.listdir("/proc/self/task"))
from rfaconv import RFAConv2d
from rfaconv.backends.cpu.openmp import mapped
layer = RFAConv2d(64, 64, 3, backend="cpu").eval()
with torch.no_grad():
    layer(torch.randn(4, 64, 32, 32))
after = len(os.listdir("/proc/self/task"))
libraries = mapped()
assert len(libraries) == 1, libraries
assert "torch" in libraries[0], libraries
assert after == before, (before, after)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_one_openmp_pool(tmp_path: Path) -> None:
    """The library computes in torch's pool: no second runtime is mapped, no thread is added."""
    _run(POOL, tmp_path, OMP_NUM_THREADS="2")


FORK = """
import os, sys, time
import torch
from rfaconv import RFAConv2d
torch.set_num_threads(2)
torch.manual_seed(0)
x = torch.randn(4, 16, 24, 24)
G, b, w, K = torch.randn(16, 9, 9), torch.randn(16, 9), torch.randn(16, 9), torch.randn(8, 16, 3, 3)
layer = RFAConv2d(16, 16, 3, backend="cpu")
window = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]

def ops():
    y = torch.ops.rfaconv.project(x, G, b, [w], K, None, "rfa", 1, window, "cpu")
    return [y, *torch.ops.rfaconv.patch_moments(x, window, "cpu")]

def step():
    layer.zero_grad()
    y = layer(x)
    y.square().mean().backward()
    return [y.detach(), layer.weight.grad.clone()]

expected = WORK()  # the pool of the parent exists now
child = os.fork()
if child == 0:
    IN_CHILD
    results = WORK()
    torch.set_num_threads(1)
    same = all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(results, expected))
    os._exit(0 if same else 3)
for _ in range(600):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(child, 9)
sys.exit("the forked child hangs")
"""


def _fork(work: str, in_child: str, folder: Path) -> None:
    code = FORK.replace("WORK", work).replace("IN_CHILD", in_child)
    _run(code, folder, OMP_NUM_THREADS="2")


def test_ops_run_in_a_forked_child(tmp_path: Path) -> None:
    """Nothing has to be prepared: torch's own operations would hang here."""
    _fork("ops", "pass", tmp_path)


def test_layer_trains_in_a_forked_child(tmp_path: Path) -> None:
    """With the one thread that torch itself needs after fork, as in workers of a DataLoader."""
    _fork("step", "torch.set_num_threads(1)", tmp_path)


def test_forked_child_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library.threads() == torch.get_num_threads()
    monkeypatch.setattr(library._Process, "forked", True)
    assert library.threads() == 1


LOADER = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
from rfaconv import RFAConv2d

class Filtered(Dataset):
    def __init__(self):
        torch.manual_seed(0)
        self.images = torch.randn(6, 3, 16, 16)
        self.layer = RFAConv2d(3, 5, 3, backend="cpu").eval()

    def __len__(self):
        return len(self.images)

    @torch.no_grad()
    def __getitem__(self, index):
        return self.layer(self.images[index : index + 1])[0]

if __name__ == "__main__":
    data = Filtered()
    expected = torch.stack([data[i] for i in range(6)])
    loader = DataLoader(data, 2, num_workers=2, multiprocessing_context=METHOD)
    assert torch.allclose(torch.cat(list(loader)), expected, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method: str, tmp_path: Path) -> None:
    _run(LOADER.replace("METHOD", repr(method)), tmp_path)


@pytest.mark.parametrize("variant", ["rfa", "rfcbam", "rfca"])
def test_python_threads_at_once(variant: str) -> None:
    """ctypes releases the GIL, so calls of several Python threads really overlap."""
    problems = [Case(variant=variant, channels=4 + 3 * i, size=(11 + i, 17)) for i in range(4)]
    inputs = [draw(case, seed) for seed, case in enumerate(problems)]
    alone = [evaluate(c, i, "fused") for c, i in zip(problems, inputs, strict=True)]

    def repeat(index: int) -> list[dict[str, torch.Tensor]]:
        return [evaluate(problems[index], inputs[index], "fused") for _ in range(15)]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(repeat, range(4)))
    for expected, results in zip(alone, together, strict=True):
        for result in results:
            for name, value in expected.items():
                torch.testing.assert_close(result[name], value, rtol=1e-5, atol=1e-6)


def test_first_load_from_many_threads(tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from rfaconv.backends.cpu import library
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(lambda _: library.load(), range(32)))
assert all(result is results[0] for result in results)
assert results[0].functions is not None
"""
    _run(code, tmp_path)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_result_does_not_depend_on_the_number_of_threads(threads: int) -> None:
    case = Case(variant="rfcbam", channels=9, out_channels=11, size=(19, 23))
    inputs = draw(case)
    before = torch.get_num_threads()
    expected = evaluate(case, inputs, "oracle")
    try:
        torch.set_num_threads(threads)
        results = evaluate(case, inputs, "fused")
    finally:
        torch.set_num_threads(before)
    for name, value in results.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-4)


def test_module_moves_between_threads() -> None:
    layer = RFAConv2d(4, 6, 3, backend="cpu").eval()
    x = torch.randn(2, 4, 9, 8)
    with torch.no_grad(), ThreadPoolExecutor(1) as pool:
        expected = layer(x)
        with torch.no_grad():
            assert torch.equal(pool.submit(_forward, layer, x).result(), expected)


def _forward(layer: RFAConv2d, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = layer(x)
    return result
