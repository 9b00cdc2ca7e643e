"""Kernels behind the operations, one folder per backend; knows kernels, no autograd. May import L0
to L2.

A backend is a folder with an object ``BACKEND`` (see :mod:`rfaconv.backends.base`) and a name in
:data:`rfaconv.backends.registry.PRIORITY`, or any such object that is given to ``registry.add``.
Importing a backend loads nothing heavy: Triton and the C library are loaded when the backend is
first asked whether it can run.
"""

from __future__ import annotations

from rfaconv.backends.base import Backend, Status
from rfaconv.backends.selftest import SelftestRow, selftest

__all__ = ["Backend", "SelftestRow", "Status", "selftest"]
