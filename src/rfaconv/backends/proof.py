"""Proof before trust: a kernel is used on a device after it has agreed with the reference there.

A kernel that compiles may still be wrong on a device that nobody has tried. So the first problem
of every kind runs once on a tiny map, forward or with all gradients, under the rule of
:mod:`rfaconv.reference.parity`. The verdict is kept per device, driver and versions. A kind that is
wrong, does not compile, or takes more than the device has is refused with that reason; the next
backend or the reference runs it.

Environment variable ``RFACONV_PROOF=off``: kernels are used without proof.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import torch

from rfaconv.backends.base import Backend
from rfaconv.backends.cases import Case, parity
from rfaconv.backends.op_cases import OPS, OpCase, op_parity
from rfaconv.backends.verdicts import Verdicts
from rfaconv.geometry import Problem, Window
from rfaconv.reference.parity import Parity

__all__ = ["Kind", "Proof", "ask", "kind_of", "kinds", "proofs", "trusting"]

FORWARD, BACKWARD = "forward", "backward"
_KERNELS = ((3, 3), (1, 1), (5, 5))
_DTYPES = ("float32", "bfloat16", "float16")
NOW = "not proved on this device yet: run it once outside of torch.compile and CUDA graphs, or run"
NOW += " `rfaconv doctor --selftest`"

Check = Callable[[], list[Parity]]


class Kind(NamedTuple):
    """What is proved together.

    Attributes:
        op: name of the op that was asked for.
        variant: the operator, or empty.
        dtype: name of the dtype.
        kernel: of the window.
        direction: ``forward``, or ``backward`` for the result and all gradients.
    """

    op: str
    variant: str
    dtype: str
    kernel: tuple[int, ...]
    direction: str

    def __str__(self) -> str:
        parts = (self.op, self.variant, self.dtype, "x".join(map(str, self.kernel)), self.direction)
        return " ".join(filter(None, parts))


def kind_of(problem: Problem) -> Kind:
    """The kind of a problem; with gradients where autograd is on."""
    recorded = torch.is_grad_enabled() and problem.op != "attend"
    direction = BACKWARD if recorded else FORWARD
    return Kind(problem.op, problem.variant, problem.dtype, problem.window.kernel, direction)


@dataclass
class Device:
    """One device on which kinds are proved.

    Attributes:
        name: for ``torch.device``, with an index where there are several.
        verdicts: what is known.
    """

    name: str
    verdicts: Verdicts


class Proof:
    """The verdicts of one backend in this process.

    Args:
        backend: its name.
        devices: names and identities of the devices, of those alike one. Called once, at the first
            question.
        may_run: whether something can be run now, for example because no graph is captured.
    """

    def __init__(
        self,
        backend: str,
        devices: Callable[[], Mapping[str, Mapping[str, str]]],
        may_run: Callable[[], bool] = lambda: True,
    ) -> None:
        self.backend, self._identities, self.may_run = backend, devices, may_run
        self.lock = threading.RLock()
        self.trusted = False
        self._devices: list[Device] | None = None
        self.passing: dict[str, str] = {}
        """Refusals that hold for this process alone: there was no memory for the proof."""
        self.told: set[str] = set()

    @property
    def devices(self) -> list[Device]:
        """The devices and what is known of each."""
        if self._devices is None:
            self._devices = [Device(n, Verdicts(i)) for n, i in self._identities().items()]
        return self._devices

    def forget(self) -> None:
        """Reads the verdicts again at the next question."""
        with self.lock:
            self._devices, self.passing = None, {}
            self.told.clear()

    def refusal(self, kind: Kind, *, tracing: bool) -> str | None:
        """Why the kernels of a kind are not used, or None; proves it first where that may be.

        Args:
            kind: what is asked for.
            tracing: whether a compiler traces, so that nothing may run.
        """
        if self.trusted or os.environ.get("RFACONV_PROOF", "").lower() in ("off", "0"):
            return None
        with self.lock:
            for device in self.devices:
                reason = self._on(device, kind, tracing)
                if reason is not None:
                    return reason
        return None

    def _on(self, device: Device, kind: Kind, tracing: bool) -> str | None:
        name, known = str(kind), device.verdicts.known
        if name not in known and name not in self.passing:
            if tracing or not self.may_run():
                return NOW
            self.prove(device, kind)
        reason = self.passing.get(name) or device.verdicts.known.get(name)
        if reason is not None and name not in self.told:
            self.told.add(name)
            warnings.warn(
                f"the {self.backend} kernels of {name} are not used: {reason}", RuntimeWarning, 2
            )
        return reason

    def prove(self, device: Device, kind: Kind) -> str | None:
        """Runs a kind on a device and keeps the verdict, which is returned."""
        name, found = str(kind), dict[str, str | None]()
        self.passing.pop(name, None)
        device.verdicts.begin(name)
        try:
            reason, lasting = _apart(lambda: judge(kind, self.backend, device.name))
            if not lasting:
                self.passing[name] = reason or ""
                return reason
            found[name] = reason
            if reason is None and kind.direction == BACKWARD:
                found[str(kind._replace(direction=FORWARD))] = None
        finally:
            device.verdicts.end(name, found)
        return reason

    def summary(self) -> dict[str, str]:
        """What is known, for the report: how many kinds were proved, and which are refused."""
        found: dict[str, str] = {}
        for device in self.devices:
            known = {**device.verdicts.known, **self.passing}
            refused = [f"{kind}: {reason}" for kind, reason in known.items() if reason is not None]
            found["proved"] = f"{len(known) - len(refused)} kinds on {device.name}"
            if refused:
                found["refused"] = "; ".join(refused)
        return found


def judge(kind: Kind, backend: str, device: str) -> tuple[str | None, bool]:
    """Runs every check of a kind.

    Returns:
        Why it must not be used, or None; and whether that will be so next time.
    """
    try:
        found = list(checks(kind, backend, device))
        if not found:
            return "no check is known for it", True
        for check in found:
            failed = [str(row) for row in check() if not row.passed]
            if failed:
                return "wrong: " + "; ".join(failed)[:500], True
    except (torch.OutOfMemoryError, MemoryError) as error:
        return f"no memory to prove it: {_said(error)}", False
    except Exception as error:  # whatever a compiler or driver raises is the verdict
        return _said(error), True
    return None, True


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]


def checks(kind: Kind, backend: str, device: str) -> Iterator[Check]:
    """The checks of a kind: two tiny maps that take different kernels where a backend has several.

    One has its channels last and in sixteens and many outputs, one is contiguous with stride 2.
    """
    gradients = kind.direction == BACKWARD
    dtype = getattr(torch, kind.dtype)
    for last, channels, outputs, stride in ((True, 16, 256, 1), (False, 19, 21, 2)):
        window = Window.create(kind.kernel, stride)
        for op, variant in _parts(kind):
            if op in OPS:
                own = OpCase(op, backend, device, variant, dtype, window, channels, last)
                yield partial(op_parity, own, gradients=gradients)
                continue
            case = Case(
                op, variant or "rfa", batch=2, channels=channels, out_channels=outputs,
                size=(6, 5), window=window, dtype=dtype, device=device, backend=backend,
                channels_last=last,
            )  # fmt: skip
            yield partial(parity, case, gradients=gradients)


def _parts(kind: Kind) -> list[tuple[str, str]]:
    """Ops that run where this one was asked for: statistics with the projection, and with the
    moments' fold the running statistics.
    """
    if kind.op == "feature_stats_linked_backward":
        return [("linked", kind.variant)]
    found = [(kind.op, kind.variant)]
    if kind.op == "project" and kind.variant in ("rfcbam", "rfca"):
        found.append(("feature_stats", kind.variant))
    if kind.op == "fold_statistics":
        found.append(("update_running", kind.variant))
    return found


def _apart(run: Callable[[], tuple[str | None, bool]]) -> tuple[str | None, bool]:
    """Runs in a thread of its own, where no autocast, grad mode, hook or dispatch mode of the
    caller holds.
    """
    found: list[tuple[str | None, bool]] = []
    thread = threading.Thread(target=lambda: found.append(run()), name="rfaconv-proof")
    thread.start()
    thread.join()
    return found[0] if found else ("the proof did not end", False)


proofs: dict[str, Proof] = {}
"""Backend to its proof, of those whose kernels are not trusted without."""


def ask(
    backend: str, op: str, variant: str, dtype: str, kernel: tuple[int, ...], direction: str,
    tracing: bool,
) -> str | None:  # fmt: skip
    """:meth:`Proof.refusal` on plain values: a compiler calls it while it traces, and takes the
    answer for a constant.
    """
    return proofs[backend].refusal(Kind(op, variant, dtype, kernel, direction), tracing=tracing)


@contextmanager
def trusting(backend: str) -> Iterator[None]:
    """While it lasts the backend refuses nothing for want of a proof."""
    own = proofs[backend]
    with own.lock:
        before, own.trusted = own.trusted, True
        try:
            yield
        finally:
            own.trusted = before


def kinds(backend: Backend) -> Iterator[Kind]:
    """Every kind for which a backend has kernels, with all gradients where there are any."""
    variants = {
        "project": ("rfa", "rfcbam", "rfca", "none"),
        "attend": ("rfa", "rfcbam", "rfca"),
        "feature_stats_linked_backward": ("rfcbam", "rfca"),
    }
    ops = dict.fromkeys(("patch_moments", *variants, *OPS))
    del ops["update_running"]  # it comes with the fold
    sizes = {"channel_gate": ((1, 1),), "line_hidden": ((1, 1),), "line_gates": ((1, 1),)}
    for op in ops:
        if op not in backend.kernels:
            continue
        direction = FORWARD if op == "attend" else BACKWARD
        for variant, kernel, dtype in product(
            variants.get(op, ("",)), sizes.get(op, _KERNELS), _DTYPES
        ):
            yield Kind(op, variant, dtype, kernel, direction)


ask._dynamo_marked_constant = True  # type: ignore[attr-defined]
