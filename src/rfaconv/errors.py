"""The errors of the library: each names the argument, what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RFAConvError(Exception):
    """Base of every error that the library raises on purpose."""


class InvalidArgument(RFAConvError, ValueError):
    """An argument that cannot be used.

    Args:
        argument: name of the argument as the caller wrote it.
        expected: what would have been accepted.
        got: what came; shown as it is if it is a string, else by ``repr``.
    """

    def __init__(self, argument: str, expected: str, got: object) -> None:
        self.argument = argument
        self.expected = expected
        self.got = got
        shown = got if isinstance(got, str) else repr(got)
        super().__init__(f"{argument}: expected {expected}, got {shown}")


class BackendUnavailable(RFAConvError, RuntimeError):
    """A backend that was asked for by name and cannot run the problem; the message says why."""

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"backend {backend!r} cannot run this: {reason}")


class UnsafeCheckpoint(RFAConvError):
    """A checkpoint that can only be read by executing code stored in it."""


def unknown_name(argument: str, name: object, known: Iterable[str]) -> InvalidArgument:
    """Returns the error for a name that is not among ``known``, with the nearest ones suggested.

    Example:
        >>> print(unknown_name("operator", "rfcbm", ["rfa", "rfcbam"]))
        operator: expected one of rfa, rfcbam (did you mean rfcbam?), got 'rfcbm'
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return InvalidArgument(argument, f"one of {', '.join(names)}{hint}", repr(name))
