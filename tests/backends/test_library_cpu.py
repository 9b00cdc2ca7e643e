"""Finding, loading and refusing the C library; every refusal says why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rfaconv.backends.cpu import BACKEND, abi, library
from rfaconv.errors import BackendUnavailable, InvalidArgument
from rfaconv.geometry import Problem, Window


@pytest.fixture
def fresh_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], library.LoadResult]:
    """Loads from an empty folder, past the cache."""
    monkeypatch.setattr(library, "folders", lambda: (tmp_path,))
    return library._find_and_load


def test_missing_library_says_how_to_build_it(fresh_load: Callable[[], library.LoadResult]) -> None:
    result = fresh_load()
    assert result.functions is None
    assert result.reason is not None
    assert "was not built" in result.reason
    assert "cmake" in result.reason


def test_failed_build_is_reported(
    fresh_load: Callable[[], library.LoadResult], tmp_path: Path
) -> None:
    record = {"reason": "the compilation of the C++ kernels failed: error: no space left"}
    (tmp_path / "build.json").write_text(json.dumps(record), encoding="utf-8")
    reason = fresh_load().reason
    assert reason is not None
    assert "no space left" in reason


def test_real_load_error_is_kept(
    fresh_load: Callable[[], library.LoadResult], tmp_path: Path
) -> None:
    (tmp_path / library.LIBRARY_NAME).write_bytes(b"not a library")
    reason = fresh_load().reason
    assert reason is not None
    assert "does not load" in reason
    assert "invalid ELF header" in reason or "file too short" in reason


@pytest.mark.usefixtures("cpu_library")
def test_other_abi_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "ABI_VERSION", 99)
    reason = library._find_and_load().reason
    assert reason is not None
    assert "expected 99" in reason


def test_unusable_library_raises_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_load_once", lambda: library.LoadResult(None, "no such thing"))
    with pytest.raises(BackendUnavailable, match="no such thing"):
        torch.ops.rfaconv.patch_moments(torch.zeros(1, 1, 3, 3), Window.create(3).to_ints(), "cpu")
    assert BACKEND.status().reason == "no such thing"


@pytest.mark.usefixtures("cpu_library")
def test_status_names_what_runs() -> None:
    details = BACKEND.status().details
    assert details["isa"] in ("scalar", "avx2", "avx512", "avx512_bf16", "amx")
    assert Path(details["library"]).is_file()
    assert details["compiler"]


def test_import_loads_neither_library_nor_triton() -> None:
    code = (
        "import sys, rfaconv\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'librfaconv_cpu' not in maps\n"
        "assert 'triton' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


BASE = {"op": "project", "variant": "rfa", "device": "cpu", "dtype": "float32"}
REFUSALS = [
    pytest.param({"device": "cuda"}, "device: expected cpu, got cuda", id="device"),
    pytest.param({"dtype": "float64"}, "float64", id="float64"),
    pytest.param({"dtype": "float16"}, "float16", id="float16"),
    pytest.param({"window": Window.create(7)}, "kernel_size", id="kernel"),
    pytest.param({"window": Window.create((3, 5))}, "kernel_size", id="unequal kernel"),
    pytest.param({"window": Window.create(3, dims=1)}, "dimensions: expected 2, got 1", id="1d"),
    pytest.param({"groups": 2}, "groups: expected 1, got 2", id="groups"),
    pytest.param({"variant": "unknown"}, "'unknown'", id="variant"),
]


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_refusals_name_the_cause(change: dict[str, object], message: str) -> None:
    values = {"window": Window.create(3), "in_channels": 4, **BASE, **change}
    reason = BACKEND.refusal(Problem(**values))  # type: ignore[arg-type]
    assert reason is not None
    assert message in reason


@pytest.mark.usefixtures("cpu_library")
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_covered_problems_are_not_refused(kernel: int, dtype: str) -> None:
    window = Window.create(kernel, 3, 2, 2)
    assert BACKEND.refusal(Problem("project", "rfa", "cpu", dtype, window, 4)) is None


WINDOW = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]


def _project(**change: object) -> None:
    values: dict[str, object] = {
        "x": torch.zeros(2, 4, 6, 5),
        "feature_weight": torch.zeros(4, 9, 9),
        "feature_bias": torch.zeros(4, 9),
        "gate": [torch.zeros(4, 9)],
        "weight": torch.zeros(7, 4, 3, 3),
        "bias": torch.zeros(7),
        "variant": "rfa",
        "groups": 1,
        "window": WINDOW,
    }
    torch.ops.rfaconv.project(*{**values, **change}.values(), "cpu")


BAD = [
    ("x", torch.zeros(2, 4, 6, 5, dtype=torch.float64)),
    ("x", torch.zeros(4, 6, 5)),
    ("x", torch.zeros(2, 4, 0, 5)),
    ("feature_weight", torch.zeros(4, 9, 9, dtype=torch.float64)),
    ("feature_weight", torch.zeros(5, 9, 9)),
    ("feature_bias", torch.zeros(36)),
    ("gate", []),
    ("gate", [torch.zeros(4, 9), torch.zeros(4, 9)]),
    ("gate", [torch.zeros(4, 9, dtype=torch.bfloat16)]),
    ("weight", torch.zeros(7, 4, 5, 5)),
    ("weight", torch.zeros(7, 4, 3, 3, dtype=torch.bfloat16)),
    ("bias", torch.zeros(6)),
    ("bias", torch.zeros(7, dtype=torch.float64)),
    ("variant", "cbam"),
    ("groups", 2),
    ("window", [3, 3, 1, 1, 0, 0, 0, 0, 4, 4]),
]


@pytest.mark.usefixtures("cpu_library")
@pytest.mark.parametrize(("name", "value"), BAD)
def test_wrapper_checks_every_pointer(name: str, value: object) -> None:
    """A wrong dtype or shape that reached the library would give silent garbage or worse."""
    _project()
    with pytest.raises(InvalidArgument, match="x" if name == "window" else name):
        _project(**{name: value})
