"""The kernels take their threads from the OpenMP runtime that torch has loaded, or have one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rfaconv.backends.cpu import abi, library, openmp

pytestmark = pytest.mark.usefixtures("cpu_library")


def _private_copy(tmp_path: Path) -> ctypes.CDLL:
    """The library under another name, so that the one in use keeps its runtime."""
    copy = tmp_path / f"copy_{library.LIBRARY_NAME}"
    copy.write_bytes(Path(library.load().details["library"]).read_bytes())
    functions = ctypes.CDLL(str(copy))
    abi.declare(functions)
    return functions


def test_without_a_runtime_there_is_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = openmp.bind(_private_copy(tmp_path), None)
    assert why is not None
    assert "no OpenMP runtime" in why
    monkeypatch.setattr(openmp, "runtime_of_torch", lambda: None)
    path = Path(library.load().details["library"])
    loaded = library._load_from(path)
    try:
        assert loaded.reason is None
        assert not loaded.threaded
        assert loaded.details["threads"].startswith("one: ")
        monkeypatch.setattr(library, "_load_once", lambda: loaded)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        assert library.threads() == 1
    finally:
        monkeypatch.undo()
        library._load_from(path)  # the library of this process has its threads again


def test_a_library_without_the_functions_is_no_runtime(tmp_path: Path) -> None:
    functions = _private_copy(tmp_path)
    assert openmp.bind(functions, functions) is not None


def test_half_a_runtime_is_refused(tmp_path: Path) -> None:
    functions = _private_copy(tmp_path)
    half = abi.OpenmpStruct(thread_num=1, num_threads=1, gomp_parallel=1)
    assert functions.rfaconv_bind_openmp(ctypes.byref(half)) != 0


def test_torch_leads_to_its_own_runtime() -> None:
    if not torch.backends.openmp.is_available():
        pytest.skip("this torch has no OpenMP")
    assert library.load().threaded
    assert library.load().details["threads"] == "of torch's OpenMP runtime"


OTHER_RUNTIME = """
import ctypes, sys
import torch
from rfaconv import RFAConv2d
from rfaconv.backends.cpu import library, openmp
runtime = ctypes.CDLL(sys.argv[1])
if sys.argv[2] == "kmp":
    openmp._INTERFACES = openmp._INTERFACES[1:]
torch.manual_seed(0)
layer = RFAConv2d(16, 24, 3, backend="cpu")
x = torch.randn(2, 16, 20, 20, requires_grad=True)

def results():
    layer.zero_grad()
    x.grad = None
    y = layer(x)
    y.square().mean().backward()
    return [y.detach(), x.grad, layer.weight.grad.clone()]

torch.set_num_threads(1)
want = results()
assert openmp.bind(library.require(), runtime) is None
torch.set_num_threads(2)
for got, one in zip(results(), want, strict=True):
    torch.testing.assert_close(got, one, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.parametrize("interface", ["gomp", "kmp"])
def test_runtimes_of_intel_and_llvm(interface: str, tmp_path: Path) -> None:
    """Where one is installed (scikit-learn and intel-openmp bring one), its threads compute."""
    folders = [Path(sys.prefix) / "lib", *Path(sys.prefix).glob("lib/python*/site-packages/*.libs")]
    found = [p for f in folders for n in ("libiomp5.so", "libomp*.so*") for p in f.glob(n)]
    if not found:
        pytest.skip("no runtime of LLVM or Intel is installed")
    program = tmp_path / "program.py"
    program.write_text(OTHER_RUNTIME, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "KMP_DUPLICATE_LIB_OK": "TRUE"}
    done = subprocess.run(
        [sys.executable, program, found[0], interface],
        capture_output=True, encoding="utf-8", timeout=250, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
