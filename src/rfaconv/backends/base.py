"""What every backend offers: kernels, an honest refusal, doubts, and a status for the report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rfaconv.geometry import Problem

__all__ = ["Backend", "Kernel", "Status"]

Kernel = Callable[..., Any]
"""Takes the arguments of an op without the last one, ``backend``."""


@dataclass(frozen=True)
class Status:
    """Whether a backend can run anything on this machine.

    Attributes:
        name: Name of the backend.
        reason: Why it cannot, or None if it can.
        details: What there is to know about it, such as the library's path and its instruction set.
    """

    name: str
    reason: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether the backend can run at all."""
        return self.reason is None


class Backend(ABC):
    """Base class of the backends; they have no state and are cheap to ask.

    Attributes:
        name: what users pass as ``backend=``.
        kernels: op name to kernel. Casts and memory layouts that a kernel wants are its own affair.
        device: device type of the tensors that the kernels take.
        channels_adjacent: whether in lines (B, C, L), and in gradients of K, the channels lie next
            to each other.
    """

    name: ClassVar[str]
    kernels: ClassVar[Mapping[str, Kernel]]
    device: ClassVar[str]
    channels_adjacent: ClassVar[bool] = False

    def refusal(self, problem: Problem) -> str | None:
        """Says why the backend cannot run the problem, or None if it can.

        Never raises. Traced by ``torch.compile``: plain Python on plain values.
        """
        if problem.op not in self.kernels:
            return f"op: the {self.name} backend has no kernel for {problem.op}"
        if problem.device != self.device:
            return f"device: expected {self.device}, got {problem.device}"
        return self.unsupported(problem)

    @abstractmethod
    def unsupported(self, problem: Problem) -> str | None:
        """:meth:`refusal` of a problem whose op has a kernel, on the right device."""

    def hesitation(self, problem: Problem) -> str | None:
        """Says why ``auto`` should pass the backend by although it can run the problem, or None.

        Who names the backend gets it. Never raises; traced like :meth:`refusal`.
        """
        return None

    @abstractmethod
    def status(self) -> Status:
        """Whether it can run here at all, for ``rfaconv doctor``."""
