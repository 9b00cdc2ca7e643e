"""A kernel is given memory that is not its own: ``.ci/sanitized`` has to see a report.

``python -m testing.sanitized_control past`` reads beyond a map, ``freed`` one that is gone.
"""

from __future__ import annotations

import sys

import torch

import testing.sanitized  # noqa: F401  # the library under AddressSanitizer
from rfaconv.backends.cpu import library
from rfaconv.backends.cpu.operands import strided, window_struct

FAULTS = ("past", "freed")


def main(fault: str) -> None:
    """Calls the kernel of ``patch_moments`` with a pointer that is wrong in the way named."""
    lib, x = library.require(), torch.zeros(1, 2, 8, 8)
    given = x.expand(2, 2, 8, 8) if fault == "past" else x
    source, window = strided("x", given), window_struct(given, (3, 3, 1, 1, 1, 1, 1, 1, 1, 1))
    mean = torch.empty((2, 9), dtype=torch.float64)
    cov = torch.empty((2, 9, 9), dtype=torch.float64)
    if fault == "past":
        source.stride[0] = x.stride(0)  # as if there were a second image
    else:
        del x, given
    lib.rfaconv_patch_moments(source, window, mean.data_ptr(), cov.data_ptr(), 1)


if __name__ == "__main__":
    main(dict(zip(FAULTS, FAULTS, strict=True))[sys.argv[1]])
