"""What every backend offers: a name, an honest refusal, its doubts, and a status for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rfaconv.geometry import Problem

__all__ = ["Backend", "Status"]


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


class Backend(Protocol):
    """Protocol of a backend; implementations are stateless and cheap to ask."""

    @property
    def name(self) -> str:
        """The name that users pass as ``backend=``."""
        ...

    def refusal(self, problem: Problem) -> str | None:
        """Says why the backend cannot run the problem, or None if it can.

        Never raises. Traced by ``torch.compile``: plain Python on plain values.
        """
        ...

    def hesitation(self, problem: Problem) -> str | None:
        """Says why ``auto`` should pass the backend by although it can run the problem, or None.

        Who names the backend gets it. Never raises; traced like :meth:`refusal`.
        """
        ...

    def status(self) -> Status:
        """Whether it can run here at all, for ``rfaconv doctor``."""
        ...
