"""Sharded networks over two gloo processes: as exact as the same network of torch's own layers."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from testing.holding import OPERATORS
from testing.sharded import DTYPES, POLICIES, answers, exact, network, run

from rfaconv.reference.parity import compare, require

# FSDP2 does not cast buffers: torch's own BatchNorm2d refuses bfloat16 weights beside float32
# statistics on a CPU
FSDP2_DTYPES = tuple(name for name in DTYPES if name != "bfloat16")
CASES = {
    "fsdp1": list(itertools.product(OPERATORS, POLICIES, ("flat", "orig"), DTYPES)),
    "fsdp2": list(itertools.product(OPERATORS, ("whole", "operators", "every"), FSDP2_DTYPES)),
}
cached_exact = cache(exact)
# the first test of a kind waits for all its cases
pytestmark = pytest.mark.timeout(1200)
EVENTS = ("evaluation", "first step", "second step", "evaluation behind them")


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs all cases of a kind, once; returns their folder and why they ended early."""

    @cache
    def started(kind: str) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp(kind)
        return folder, run(kind, CASES[kind], folder)

    return started


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, cases in CASES.items() for case in cases],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_as_exact_as_torchs_own_layers(kind: str, case: tuple[str, ...], ended: Any) -> None:
    folder, reason = ended(kind)
    try:
        found = answers(folder, case)
    except FileNotFoundError:
        pytest.fail(f"the processes ended before this case: {reason}")
    rows = []
    for rank, sides in enumerate(found):
        assert not isinstance(sides["composition"], str), sides["composition"]
        assert not isinstance(sides["ours"], str), sides["ours"]
        for event, y, plain, oracle in zip(
            EVENTS, sides["ours"], sides["composition"], cached_exact(case[0])[rank], strict=True
        ):
            assert y.dtype == plain.dtype
            rows.append(compare(f"{event} of rank {rank}", y, plain, oracle))
    require(rows)
    state = found[0]["ours state"]
    plain = network(case[0], ours=True)
    plain.load_state_dict({name: t.float() for name, t in state.items()})
    for name, t in found[1]["ours state"].items():
        if "running" not in name and t.numel():  # statistics are those of each process
            assert torch.equal(t, state[name]), name
