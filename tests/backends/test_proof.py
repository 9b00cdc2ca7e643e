"""A kernel is used on a device after it has agreed with the reference there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backends.fakes import RIGHT, FakeBackend
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rfaconv import RFAConv2d, dispatch
from rfaconv.backends import proof, registry
from rfaconv.backends.proof import Kind, Proof
from rfaconv.backends.selftest import selftest
from rfaconv.backends.verdicts import Verdicts, cache_folder
from rfaconv.errors import BackendUnavailable
from rfaconv.geometry import Problem, Window

IDENTITY = {"device": "imaginary", "driver": "1"}
FORWARD = Kind("project", "rfa", "float32", (3, 3), "forward")
BACKWARD = FORWARD._replace(direction="backward")
PROBLEM = Problem("project", "rfa", "cpu", "float32", Window.create(3), 4, 5)
Install = Callable[..., FakeBackend]


class OutOfResources(Exception):
    """As the compiler of kernels raises it."""


def wrong(*args: Any) -> Tensor:
    y: Tensor = RIGHT["project"](*args)
    return y * 1.01


def nan(*args: Any) -> Tensor:
    y: Tensor = RIGHT["project"](*args).clone()
    y[0, 0, 0, 0] = torch.nan
    return y


def crashing(*args: Any) -> Tensor:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def hungry(*args: Any) -> Tensor:
    raise OutOfResources("out of resource: shared memory, Required: 300000")


def without_memory(*args: Any) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def wrong_gradient(*args: Any) -> Any:
    dx, *rest = RIGHT["project_backward"](*args)
    return (dx * 1.01, *rest)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("RFACONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RFACONV_PROOF", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def install() -> Iterator[Install]:
    """Puts a fake backend before all others, with an empty memory of verdicts."""

    def put(identity: dict[str, str] = IDENTITY, **spoilt: Any) -> FakeBackend:
        backend = FakeBackend(**spoilt)
        proof.proofs["fake"] = Proof("fake", lambda: {"cpu": identity})
        registry.add(backend)
        return backend

    yield put
    if "fake" in registry.BACKENDS:
        registry.remove("fake")
    proof.proofs.pop("fake", None)


def step(backend: str) -> dict[str, Tensor]:
    """A training step of a layer: output and gradients."""
    torch.manual_seed(0)
    layer = RFAConv2d(4, 5, 3, backend=backend)
    x = torch.randn(2, 4, 6, 5).requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad, **{n: p.grad for n, p in layer.named_parameters()}}


def agree(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_right_kernels_are_proved_once(install: Install, cache: Path) -> None:
    """Before their first use, with their gradients; another process believes the file."""
    backend = install()
    agree(step("auto"), step("reference"))
    assert backend.calls.count("project_backward") >= 2
    assert dispatch.select(PROBLEM) == "fake"
    (file,) = (cache / "proof").iterdir()
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["identity"] == IDENTITY
    assert stored["verdicts"][str(FORWARD)] is None
    assert stored["verdicts"][str(BACKWARD)] is None
    assert stored["begun"] == {}
    again = install()
    assert dispatch.select(PROBLEM) == "fake"
    assert again.calls == []


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"project": wrong}, "wrong: y: FAILED"),
        ({"project": nan}, "NaN in 1 entries"),
        ({"project": crashing}, "illegal memory access"),
        ({"project": hungry}, "OutOfResources.*shared memory"),
        ({"project": without_memory}, "no memory to prove it"),
        ({"project_backward": wrong_gradient}, "wrong: dx: FAILED"),
        ({"project_backward": crashing}, "illegal memory access"),
    ],
    ids=["wrong", "nan", "crash", "resources", "memory", "wrong gradient", "crash in backward"],
)
def test_spoilt_kernels_are_refused(install: Install, spoilt: Any, reason: str) -> None:
    """One warning, then training goes on with the reference, and equals it."""
    backend = install(**spoilt)
    with pytest.warns(RuntimeWarning, match=reason) as told:
        found = step("auto")
    assert len(told) == 1
    agree(found, step("reference"))
    backend.calls.clear()
    agree(step("auto"), step("reference"))
    assert "project" not in backend.calls
    answer = dispatch.refusals(PROBLEM)["fake"]
    assert answer is not None
    with pytest.raises(BackendUnavailable, match=reason):
        RFAConv2d(4, 5, 3, backend="fake")(torch.randn(2, 4, 6, 5))
    assert "project rfa float32 3x3 backward" in backend.status().details["refused"]


@pytest.mark.parametrize("spoilt", [wrong, hungry], ids=["wrong", "resources"])
def test_refusals_outlive_the_process(install: Install, spoilt: Any) -> None:
    """Another process does not try again, and says once what it does without."""
    install(project=spoilt)
    with pytest.warns(RuntimeWarning):
        step("auto")
    again = install(project=spoilt)
    with pytest.warns(RuntimeWarning, match="are not used"):
        step("auto")
    assert "project" not in again.calls


def test_a_lack_of_memory_does_not(install: Install) -> None:
    install(project=without_memory)
    with pytest.warns(RuntimeWarning):
        step("auto")
    again = install()
    agree(step("auto"), step("reference"))
    assert "project" in again.calls


def test_a_wrong_gradient_leaves_inference(install: Install) -> None:
    backend = install(project_backward=wrong_gradient)
    layer = nn.Sequential(RFAConv2d(4, 5, 3)).eval()
    x = torch.randn(2, 4, 6, 5)
    with torch.no_grad():
        layer(x)
    assert "project" in backend.calls
    backend.calls.clear()
    with pytest.warns(RuntimeWarning, match="backward are not used"):
        layer(x)
    assert backend.calls.count("project_backward") == 1


def test_nothing_runs_while_a_graph_is_captured_or_traced(install: Install) -> None:
    """Then only what is known already counts."""
    backend = install()
    mine = proof.proofs["fake"]
    mine.may_run = lambda: False
    answer = dispatch.refusals(PROBLEM)["fake"]
    assert answer is not None
    assert "not proved on this device yet" in answer
    assert mine.refusal(BACKWARD, tracing=True) == proof.NOW
    mine.may_run = lambda: True
    assert mine.refusal(BACKWARD, tracing=True) == proof.NOW
    assert backend.calls == []
    assert mine.refusal(BACKWARD, tracing=False) is None
    assert mine.refusal(BACKWARD, tracing=True) is None


def test_compiled(install: Install) -> None:
    """A compiler takes the verdict for a constant: not proved, the reference runs."""
    backend = install()
    layer = RFAConv2d(4, 5, 3).eval()
    x = torch.randn(2, 4, 6, 5)
    want = layer(x).detach()
    for proved in (False, True):
        torch._dynamo.reset()
        install()
        if not proved:
            proof.proofs["fake"] = Proof("fake", lambda: {"cpu": {"device": "other"}})
        backend = registry.BACKENDS["fake"]
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x).detach(), want, rtol=1e-4, atol=1e-5)
        assert ("project" in backend.calls) == proved


def test_modes_of_the_caller_do_not_reach_it(install: Install) -> None:
    """Inference mode and operation counters are of the caller's thread."""
    backend = install()
    layer, x = RFAConv2d(4, 5, 3).eval(), torch.randn(2, 4, 6, 5)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        assert proof.proofs["fake"].refusal(BACKWARD, tracing=False) is None
        assert counter.get_total_flops() == 0
        layer(x)
    assert "project_backward" in backend.calls


def test_without_proof(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFACONV_PROOF", "off")
    backend = install(project=wrong)
    assert dispatch.select(PROBLEM, "fake") == "fake"
    assert backend.calls == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"identity": {}, "verdicts": {}}'])
def test_damaged_files_count_for_nothing(install: Install, cache: Path, content: str) -> None:
    install()
    step("auto")
    (file,) = (cache / "proof").iterdir()
    file.write_text(content, encoding="utf-8")
    again = install()
    agree(step("auto"), step("reference"))
    assert "project_backward" in again.calls
    assert json.loads(file.read_text(encoding="utf-8"))["identity"] == IDENTITY


def test_no_place_for_a_cache(install: Install, cache: Path) -> None:
    """A file where the folder should be: verdicts hold for the process."""
    cache.write_text("not a folder", encoding="utf-8")
    backend = install()
    agree(step("auto"), step("reference"))
    backend.calls.clear()
    assert dispatch.select(PROBLEM) == "fake"
    assert backend.calls == []


def test_another_driver_is_another_device(install: Install) -> None:
    install()
    step("auto")
    again = install({**IDENTITY, "driver": "2"})
    assert dispatch.select(PROBLEM) == "fake"
    assert "project_backward" in again.calls


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process lives by a signal")
def test_a_proof_that_kills_its_process_is_not_tried_for_ever() -> None:
    """Twice: one process may have been killed by somebody else."""
    for death in range(2):
        verdicts = Verdicts(IDENTITY)
        assert str(BACKWARD) not in verdicts.known
        verdicts.begin(str(BACKWARD))
        path = verdicts.path()
        assert path is not None
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["begun"][str(BACKWARD)]["deaths"] == death
        stored["begun"][str(BACKWARD)]["pid"] = 2**22 + 1  # more than there can be
        path.write_text(json.dumps(stored), encoding="utf-8")
    assert "processes died" in (Verdicts(IDENTITY).known[str(BACKWARD)] or "")


def test_interrupted_proofs_leave_no_mark(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: Any) -> Any:
        raise KeyboardInterrupt

    install()
    monkeypatch.setattr(proof, "_apart", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dispatch.select(PROBLEM)
    path = Verdicts(IDENTITY).path()
    assert path is not None
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["verdicts"], stored["begun"]) == ({}, {})


def test_selftest_proves_all_kinds(install: Install) -> None:
    """As ``rfaconv doctor --selftest`` runs it: verdicts are made again, and kept."""
    install(project=wrong)
    rows = [row for row in selftest() if row.backend == "fake"]
    failed = {row.case for row in rows if row.passed is False}
    assert {row.case for row in rows if row.passed} >= {"patch_moments float32 3x3 backward"}
    assert str(BACKWARD) in failed
    assert "wrong" in (Verdicts(IDENTITY).known[str(BACKWARD)] or "")


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/there"}, "/there/rfaconv"),
        ("linux", {}, "/home/me/.cache/rfaconv"),
        ("darwin", {}, "/home/me/Library/Caches/rfaconv"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/rfaconv/Cache"),
        ("win32", {}, "/home/me/AppData/Local/rfaconv/Cache"),
    ],
)
def test_cache_folder(
    platform: str, variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RFACONV_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_folder() == Path(folder)
