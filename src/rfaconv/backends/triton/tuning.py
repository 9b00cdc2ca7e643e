"""Chooses the configuration of the forward projection: from the table, or by timing a few once.

Off by default: the first step then costs nothing but compilation, and all ranks of a distributed
run choose alike. With the environment variable RFACONV_TRITON_TUNE=1 the first call of a class of
shapes times the table's candidates (at most a handful, a few milliseconds each after compilation)
and writes the winner to a file in the cache folder (RFACONV_TRITON_CACHE, else
``~/.cache/rfaconv``); later processes read it whether they tune or not. Nothing is timed while a
CUDA graph is captured.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import triton
from torch import Tensor

from rfaconv.backends.triton import configs, support
from rfaconv.backends.triton.configs import ProjectConfig
from rfaconv.backends.triton.operands import Geometry, channels_last

__all__ = ["VERSION", "cache_path", "choose", "shape_class"]

VERSION = 3
"""Raised whenever a kernel changes so that old timings say nothing."""

_known: dict[str, ProjectConfig] = {}
_loaded: set[Path] = set()


def cache_path(device: str) -> Path:
    """The file of one device's choices."""
    root = os.environ.get("RFACONV_TRITON_CACHE") or str(Path.home() / ".cache" / "rfaconv")
    name = "".join(c if c.isalnum() else "-" for c in device).lower()
    return Path(root) / f"triton-{name}.json"


def shape_class(
    device: str, dtype: str, variant: str, geometry: Geometry, outputs: int, tensor_cores: bool
) -> str:
    """What configurations are chosen by: sizes in powers of two, everything else exactly.

    Example:
        >>> from rfaconv.geometry import Window
        >>> g = Geometry(Window.create(3), 64, 60, (56, 56), (56, 56), False)
        >>> shape_class("H200", "bfloat16", "rfa", g, 64, True)
        'v3 H200 bfloat16 rfa k3x3 s1x1 C64 O64 P262144 tc'
    """
    (kh, kw), (sh, sw) = geometry.window.kernel, geometry.window.stride
    sizes = (geometry.channels, outputs, geometry.batch * geometry.positions)
    c, o, p = (1 << max(0, n - 1).bit_length() for n in sizes)
    tail = "tc" if tensor_cores else "ieee"
    return f"v{VERSION} {device} {dtype} {variant} k{kh}x{kw} s{sh}x{sw} C{c} O{o} P{p} {tail}"


def choose(
    x: Tensor,
    outputs: int,
    variant: str,
    geometry: Geometry,
    tensor_cores: bool,
    run: Callable[[ProjectConfig], object],
) -> ProjectConfig:
    """The configuration for a call.

    Args:
        x: The map.
        outputs: O.
        variant: The gate.
        geometry: Sizes and window.
        tensor_cores: Whether the product may use them.
        run: Runs the projection with a configuration; called only where tuning is on.
    """
    dtype = str(x.dtype).removeprefix("torch.")
    hopper = support.hopper(x.device)
    last = channels_last(x)
    candidates = configs.project_candidates(
        dtype,
        geometry.taps,
        outputs,
        tensor_cores=tensor_cores,
        variant=variant,
        channels=geometry.channels,
        last=last,
        hopper=hopper,
    )
    if len(candidates) == 1 or not x.is_cuda:
        return candidates[0]
    device = torch.cuda.get_device_name(x.device)
    key = shape_class(device, dtype, variant, geometry, outputs, tensor_cores)
    key += " last" if last else ""
    key += " odd" if geometry.channels % 16 else ""
    path = cache_path(device)
    if path not in _loaded:
        _loaded.add(path)
        _known.update(read(path))
    found = _known.get(key)
    if found in candidates:
        return found
    if os.environ.get("RFACONV_TRITON_TUNE") != "1" or torch.cuda.is_current_stream_capturing():
        return candidates[0]
    best = min(candidates, key=lambda config: _milliseconds(run, config))
    _known[key] = best
    write(path, {**read(path), key: best})
    return best


def _milliseconds(run: Callable[[ProjectConfig], object], config: ProjectConfig) -> float:
    """Median time; infinite for a configuration that this device has no room for."""
    try:
        run(config)
    except triton.runtime.errors.OutOfResources:
        return float("inf")
    value: float = triton.testing.do_bench(
        lambda: run(config), warmup=5, rep=20, return_mode="median"
    )
    return value


def read(path: Path) -> dict[str, ProjectConfig]:
    """The choices of a file; none where it does not exist or is of another format."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {key: ProjectConfig(**value) for key, value in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        # a cache only: written by another version, or cut off before replacing was atomic
        return {}


def write(path: Path, choices: dict[str, ProjectConfig]) -> None:
    """Replaces the file in one step, so that processes side by side never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({key: asdict(value) for key, value in sorted(choices.items())}, indent=1)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, suffix=".part", encoding="utf-8"
    ) as file:
        file.write(content)
    os.replace(file.name, path)
