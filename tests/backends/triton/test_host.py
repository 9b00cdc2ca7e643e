"""What the launch code decides before any kernel starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton")

from rfaconv.backends.triton.common import launch
from rfaconv.backends.triton.project.launch import tensor_cores

MATMUL = torch.backends.cuda.matmul


@pytest.fixture
def precision() -> Iterator[None]:
    """Puts both settings of the precision of products back."""
    legacy, chosen = torch.get_float32_matmul_precision(), getattr(MATMUL, "fp32_precision", None)
    yield
    torch.set_float32_matmul_precision(legacy)
    if chosen is not None:
        MATMUL.fp32_precision = chosen
        assert MATMUL.fp32_precision == chosen
    assert torch.get_float32_matmul_precision() == legacy


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize(("chosen", "allowed"), [("highest", False), ("high", True)])
def test_precision_by_torch(chosen: str, allowed: bool) -> None:
    torch.set_float32_matmul_precision(chosen)
    assert tensor_cores(torch.float32) is allowed
    assert tensor_cores(torch.bfloat16)


@pytest.mark.skipif(not hasattr(MATMUL, "fp32_precision"), reason="needs torch 2.9")
@pytest.mark.usefixtures("precision")
def test_precision_by_backend() -> None:
    """The newer setting counts, also where torch then refuses to read the older one."""
    torch.set_float32_matmul_precision("highest")
    MATMUL.fp32_precision = "tf32"
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        torch.get_float32_matmul_precision()
    assert tensor_cores(torch.float32)
    MATMUL.fp32_precision = "ieee"
    assert not tensor_cores(torch.float32)


@pytest.mark.parametrize("image", [2**20 + 1, 2**29, 2**30 - 1, 2**31, 2**33])
def test_chunks_in_32_bits(image: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much workspace is allowed, no chunk of several images reaches 2**31 bytes."""
    monkeypatch.setattr(launch, "WORKSPACE_BYTES", 2**40)
    parts = launch.chunks(5000, image)
    assert [first for first, _ in parts[1:]] == [last for _, last in parts[:-1]]
    assert (parts[0][0], parts[-1][1]) == (0, 5000)
    most = max(last - first for first, last in parts)
    assert most == 1 or most * image < 2**31
    # and no smaller than it has to be
    assert len(parts) == -(-5000 // max(1, (2**31 - 1) // image))
