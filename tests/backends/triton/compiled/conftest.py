"""The kernels compiled for GPUs that are not there, in a process whose driver only compiles.

``tests/backends/triton/test_without_gpu.py`` starts that process; elsewhere nothing is collected.
"""

from __future__ import annotations

import os

if os.environ.get("RFACONV_TRITON_COMPILE") != "1":
    collect_ignore_glob = ["test_*.py"]
