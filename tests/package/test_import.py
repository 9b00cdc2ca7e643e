"""What an import of the package may cost."""

import subprocess
import sys

HEAVY = [
    "timm",
    "torchvision",
    "lightning",
    "ultralytics",
    "matplotlib",
    "typer",
    "rich",
    "pydantic",
]
CODE = f"""
import sys, torch
before = set(sys.modules)
import rfaconv
loaded = set(sys.modules) - before
assert not torch.cuda.is_initialized()
heavy = [name for name in {HEAVY!r} + ["triton"] if name in loaded]
assert not heavy, heavy
assert not any(name.startswith("rfaconv.models") for name in loaded)
maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
assert "librfaconv" not in maps, "the C library is loaded by its first use, not by the import"
"""


def test_import_is_lean():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
