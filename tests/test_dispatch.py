"""Which backend is chosen, and what is said when it is not."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from rfaconv import dispatch
from rfaconv.backends.base import Status
from rfaconv.errors import BackendUnavailable, InvalidArgument
from rfaconv.geometry import Problem, Window


class Fake:
    """A backend that refuses or hesitates for a reason, or does not."""

    def __init__(self, name: str, reason: str | None) -> None:
        self.name, self.reason = name, reason
        self.doubt: str | None = None

    def refusal(self, problem: Problem) -> str | None:
        return self.reason

    def hesitation(self, problem: Problem) -> str | None:
        return self.doubt

    def status(self) -> Status:
        return Status(self.name, self.reason)


PROBLEM = Problem("project", "rfa", "cpu", "float32", Window.create(3), 8, 8)


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    fakes = {name: Fake(name, f"{name} is switched off") for name in dispatch.PRIORITY}
    monkeypatch.setattr(dispatch, "BACKENDS", fakes)
    dispatch._log_fallback.cache_clear()
    return fakes


def test_auto_takes_the_first_that_can(backends: dict[str, Fake]) -> None:
    first, second = dispatch.PRIORITY
    backends[second].reason = None
    assert dispatch.select(PROBLEM) == second
    backends[first].reason = None
    assert dispatch.select(PROBLEM) == first


def test_auto_passes_by_a_backend_that_hesitates(backends: dict[str, Fake]) -> None:
    first, second = dispatch.PRIORITY
    backends[first].reason = backends[second].reason = None
    backends[first].doubt = "slow here"
    assert dispatch.select(PROBLEM) == second
    assert dispatch.select(PROBLEM, first) == first
    backends[second].doubt = "slow here too"
    assert dispatch.select(PROBLEM) == "reference"


def test_auto_falls_back_to_the_reference_and_says_so_once(
    backends: dict[str, Fake], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "rfaconv.dispatch"):
        assert dispatch.select(PROBLEM) == "reference"
        assert dispatch.select(PROBLEM) == "reference"
    assert len(caplog.records) == 1
    assert "float32" in caplog.text


@pytest.mark.parametrize("name", dispatch.PRIORITY)
def test_named_backend_runs_or_raises_with_its_reason(backends: dict[str, Fake], name: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"{name} is switched off"):
        dispatch.select(PROBLEM, name)
    backends[name].reason = None
    assert dispatch.select(PROBLEM, name) == name


def test_reference_is_always_there(backends: dict[str, Fake]) -> None:
    assert dispatch.select(PROBLEM, "reference") == "reference"


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"backend: expected one of auto, .*did you mean cpu"):
        dispatch.select(PROBLEM, "cpuu")


def test_refusals_have_one_answer_per_backend(backends: dict[str, Fake]) -> None:
    backends["cpu"].reason = None
    answers = dispatch.refusals(PROBLEM)
    assert list(answers) == [*dispatch.PRIORITY, "reference"]
    assert answers["cpu"] is None
    assert answers["triton"] == "triton is switched off"


def test_report_ends_with_the_reference() -> None:
    report = dispatch.available()
    assert [status.name for status in report] == [*dispatch.PRIORITY, "reference"]
    assert report[-1].available
    assert all(status.available or status.reason for status in report)


def test_names_match_the_backends() -> None:
    assert list(dispatch.BACKENDS) == dispatch.PRIORITY
    assert all(backend.name == name for name, backend in dispatch.BACKENDS.items())


def test_plain_torch_under_functorch(backends: dict[str, Fake]) -> None:
    backends["cpu"].reason = None
    chosen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        chosen.append(dispatch.select(PROBLEM, "cpu"))
        return x.sum()

    torch.func.grad(function)(torch.ones(3))
    torch.func.vmap(function)(torch.ones(3, 2))
    with torch.autograd.forward_ad.dual_level():
        function(torch.ones(3))
    assert chosen == ["reference"] * 3
    function(torch.ones(3))
    assert chosen[-1] == "cpu"


def test_plain_torch_under_jit_trace(backends: dict[str, Fake]) -> None:
    backends["cpu"].reason = None
    chosen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        chosen.append(dispatch.select(PROBLEM, "auto"))
        return x * 2

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer torch calls tracing deprecated
        torch.jit.trace(function, torch.ones(3), check_trace=False)
    assert chosen == ["reference"]
