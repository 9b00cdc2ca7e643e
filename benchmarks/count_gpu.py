"""Counts the instructions that the compiled kernels issue, for ``predict_gpu.py``.

    PYTHONPATH=src:. python benchmarks/count_gpu.py --out benchmarks/gpu_instructions.json

Compiles for sm_90 without a GPU, reads the machine code, and weights every loop with its trips. The
numbers are instructions per thread divided by the channels and pixels that the thread computes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from testing.triton_compiler import Compiled, Recorder, tool
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfaconv.backends import proof
from rfaconv.backends.registry import BACKENDS
from rfaconv.backends.triton import TritonBackend, support
from rfaconv.backends.triton.common import configs, launch, tensor_cores
from rfaconv.backends.triton.common.operands import Geometry, gate_operands, new_map
from rfaconv.backends.triton.gates import coordinate as line_gates
from rfaconv.backends.triton.gates import lines as line_layers
from rfaconv.backends.triton.gates import pixel as pixel_gate
from rfaconv.backends.triton.linked import launch as linked
from rfaconv.backends.triton.moments import launch as moments
from rfaconv.backends.triton.project import backward
from rfaconv.backends.triton.project import launch as project
from rfaconv.backends.triton.stats import launch as stats
from rfaconv.bench.cases import SUITES, BenchCase
from rfaconv.bench.memory import saved_bytes
from rfaconv.bench.sides import build
from rfaconv.geometry import Window

CHANNELS, TAPS = 64, 9
WINDOW = Window.create(3).to_ints()


def machine_code(cubin: bytes) -> tuple[list[int], list[tuple[int, int]]]:
    """Addresses of the instructions, first and last address of every loop, outermost first."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [tool(), "-sass", file.name]
        text = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    found = re.findall(r"^\s+/\*([0-9a-f]{4,6})\*/\s+(.*?);", text, re.M)
    code = [(int(address, 16), instruction) for address, instruction in found]
    if not code:
        raise ValueError("cuobjdump showed no instruction")
    loops = []
    for address, instruction in code:
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", instruction)
        if jump and int(jump[1], 16) < address:
            loops.append((int(jump[1], 16), address))
    return [a for a, _ in code], sorted(loops, key=lambda loop: loop[0] - loop[1])


def issued(kernel: Compiled, trips: list[int]) -> int:
    """Instructions of one thread; ``trips`` of the nested loops, outermost first."""
    addresses, loops = machine_code(kernel.cubin)
    total = 0
    for address in addresses:
        weight = 1
        depth = sum(first <= address <= last for first, last in loops)
        for trip in trips[:depth]:
            weight *= trip
        total += weight
    return total


def per_pixel(kernel: Compiled, pixels: int, channels: int) -> tuple[float, float]:
    """Instructions of a loop over channels for each of them and pixel, and the others for a pixel;
    ``pixels`` of a program, ``channels`` of a step.
    """
    once, both = issued(kernel, [0]), issued(kernel, [1])
    share = kernel.threads / pixels
    return (both - once) * share / channels, once * share


def operands(outputs: int) -> tuple[torch.Tensor, ...]:
    x = torch.zeros(2, CHANNELS, 14, 14, dtype=torch.bfloat16)
    weight = torch.zeros(outputs, CHANNELS, 3, 3, dtype=torch.bfloat16)
    last = torch.channels_last
    features = torch.zeros(CHANNELS, TAPS, TAPS), torch.zeros(CHANNELS, TAPS)
    return x.to(memory_format=last), *features, weight.to(memory_format=last)


def gates(variant: str) -> list[torch.Tensor]:
    return {
        "none": [],
        "rfa": [torch.zeros(CHANNELS, TAPS)],
        "rfcbam": [torch.zeros(2, CHANNELS), torch.zeros(2, TAPS, 14, 14)],
        "rfca": [torch.zeros(2, CHANNELS, 42), torch.zeros(2, CHANNELS, 42)],
    }[variant]


def count(variant: str) -> dict[str, float]:
    """Instructions per channel and pixel of every kernel of one variant."""
    found: dict[str, float] = {}
    rows_of, lines = configs.along_rows(CHANNELS, (14, 14)), configs.lines(CHANNELS)
    for outputs in (64, 128, 256):
        x, fw, fb, weight = operands(outputs)
        config = configs.project("bfloat16", TAPS, outputs, tensor_cores=True, variant=variant)
        geometry = Geometry.of(x, WINDOW)
        with Recorder(90) as recorder:
            y = new_map(x, (2, outputs, 14, 14))
            project.run_project(
                x, fw, fb, gates(variant), weight, None, y, variant, geometry, config
            )
        (kernel,) = (k for k in recorder.found.values() if k.kernel == "project_tensor_cores")
        name = f"project_tensor_cores O{outputs}"
        found[name], found[f"{name} once"] = per_pixel(kernel, config.block_p, config.block_c)
    x, fw, fb, weight = operands(64)
    with Recorder(90) as recorder:
        filled = tensor_cores.fill(x, fw, fb, gates(variant), variant)
        operand = gate_operands(variant, gates(variant), filled["p_rows"])
        panel = torch.zeros(2 * 196, CHANNELS * TAPS, dtype=torch.bfloat16)
        with patch.object(configs, "panel_groups", lambda *_: 2):  # of one a loop is none
            project.fill_panel(x, filled, filled["p_rows"], operand, panel, variant, geometry)
        dy = new_map(x, (2, 64, 14, 14)).zero_()
        given = gates(variant)
        if variant in ("rfcbam", "rfca"):
            first = linked.project_linked_backward(dy, x, fw, fb, given, weight, variant, WINDOW)
        else:
            needs = [True] * 5
            backward.project_backward(dy, x, fw, fb, given, weight, variant, 1, WINDOW, needs)
    gather = configs.gather(CHANNELS)
    rules = {
        "scan_backward": ([rows_of.length, 14], 14 * rows_of.length),
        "gather_rows": ([], gather.block_p * gather.block_c / (32 * gather.warps)),
        "reduce_channels": ([CHANNELS // 8], CHANNELS),
        "link_channels": ([CHANNELS // 4], CHANNELS),
        "scan_lines": ([14], 14 * lines.length),
    }
    for kernel in recorder.found.values():
        name = kernel.kernel
        if name == "panel_tensor_cores":
            found[name], found[f"{name} once"] = per_pixel(kernel, configs.PANEL.block_p, 8)
        if name not in rules:  # as small as the parameters
            continue
        trips, share = rules[name]
        found[kernel.kernel] = found.get(kernel.kernel, 0.0) + issued(kernel, trips) / share
    if variant in ("rfcbam", "rfca"):
        with Recorder(90) as recorder:
            s0, s1 = stats.feature_stats(x, fw, fb, variant, WINDOW)
        with Recorder(90) as behind:
            linked.feature_stats_linked_backward(
                s0, s1, first[0], gates(variant), x, fw, fb, s0, variant, WINDOW
            )
        for prefix, each in (("stats", recorder), ("joint", behind)):
            for kernel in each.found.values():
                if kernel.kernel in rules:
                    trips, share = rules[kernel.kernel]
                    found[f"{prefix} {kernel.kernel}"] = issued(kernel, trips) / share
    if variant == "rfcbam":
        with Recorder(90) as recorder:
            stats.feature_stats(x, fw.to(x.dtype), fb.to(x.dtype), variant, WINDOW)
        (kernel,) = (k for k in recorder.found.values() if k.kernel == "channels_tensor_cores")
        name = kernel.kernel
        found[name], found[f"{name} once"] = per_pixel(
            kernel, configs.STATS_TENSOR_CORES.block_p, 8
        )
    found |= gate_kernels(variant)
    if variant == "rfa":
        found |= moments_kernels()
    return {name: round(value, 1) for name, value in sorted(found.items())}


def moments_kernels() -> dict[str, float]:
    """Instructions of the moments and their gradient per channel and output pixel, by stride."""
    found = {}
    x = torch.zeros(2, CHANNELS, 14, 14, dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last)
    for stride in (1, 2):
        window, side = Window.create(3, stride).to_ints(), 14 // stride
        with Recorder(90) as recorder:
            mean, cov = moments.patch_moments(x, window)
            moments.patch_moments_backward(mean, cov, x, mean, window)
        length = configs.along_rows(CHANNELS, (side, side)).length
        pixels = side * length
        for kernel in recorder.found.values():
            if kernel.kernel.startswith("scan"):
                found[f"{kernel.kernel} {stride}"] = issued(kernel, [length, side]) / pixels
    return found


def gate_kernels(variant: str) -> dict[str, float]:
    """Instructions of the kernels that make gates: per output pixel, per line and channel."""
    kind, found = {"dtype": torch.bfloat16}, {}
    with Recorder(90) as recorder:
        if variant == "rfcbam":
            maps, weight = torch.zeros(2, TAPS, 14, 14), torch.zeros(1, 2, 3, 3)
            pixel_gate.pixel_gate(maps, maps, weight, WINDOW)
            pixel_gate.pixel_gate_backward(maps, maps, maps, maps, weight, WINDOW)
        if variant == "rfca":
            lines, hidden = torch.zeros(2, 42, CHANNELS).mT, torch.zeros(8, **kind)
            weights = [torch.zeros(CHANNELS, 8, **kind)] * 2
            biases = [torch.zeros(CHANNELS, **kind)] * 2
            line_gates.coordinate_gates(
                lines, lines, weights[0].mT, hidden, [hidden] * 4, 1e-5, weights, biases
            )
            weights, biases = [w.float() for w in weights], [b.float() for b in biases]
            middle = line_layers.line_hidden(lines, lines, weights[0].mT, hidden.float())
            line_layers.line_gates(middle, weights, biases, 42)
            line_layers.line_gates_backward(lines, lines, middle, weights, biases, 42)
            line_layers.line_hidden_backward(middle, lines, lines, weights[0].mT)
    tile = line_gates.tiles(8)
    share = tile["BLOCK_L"] * CHANNELS
    for kernel in recorder.found.values():
        if kernel.kernel == "join_parts":  # as small as the parameters
            continue
        per_thread = share / kernel.threads
        if variant == "rfcbam":
            found[kernel.kernel] = float(issued(kernel, []))
        else:
            # rows and columns have code of their own: a program runs one of both, or, where it sums
            # over an image, both for a block each
            trips = [CHANNELS // tile["BLOCK_C"], 1]
            found[kernel.kernel] = issued(kernel, trips) / per_thread / 2
    return found


def storage(value: Any) -> int | None:
    """Where a tensor's memory lies."""
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


class Launches(TorchDispatchMode):
    """Counts the kernels that a step of a layer would launch, running the host code alone."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        space, name = function._schema.name.split("::")
        if space == "rfaconv":
            with self:
                return BACKENDS[args[-1]].kernels[name](*args[:-1])
        result = function(*args, **(kwargs or {}))
        given = {storage(value) for value in tree_leaves((args, kwargs))} - {None}
        view = storage(result) in given and not function._schema.is_mutable
        if not view and not name.startswith(("empty", "new_empty", "split", "unbind", "lift")):
            self.count += 1
        return result

    def kernel(self, *_: Any) -> None:
        """Takes the place of ``launch.execute``."""
        self.count += 1


@contextmanager
def as_on_cuda(execute: Any) -> Iterator[None]:
    """Host code takes the ways that it takes on CUDA; ``execute`` is called for every kernel."""
    with ExitStack() as stack:
        for each in (
            patch.object(TritonBackend, "device", "cpu"),
            patch.object(support, "refusal", lambda: None),
            patch.object(launch, "execute", execute),
            proof.trusting("triton"),
        ):
            stack.enter_context(each)
        yield


def layer_and_map(
    case: BenchCase, variant: str, training: bool, batch: int
) -> tuple[torch.nn.Module, torch.Tensor]:
    """A layer without the BatchNorm and ReLU after it, and its input."""
    layer = build(case, "fused", variant, training)[0].to(memory_format=torch.channels_last)
    x = torch.zeros(batch, case.in_channels, case.size, case.size, dtype=torch.bfloat16)
    return layer, x.to(memory_format=torch.channels_last)


def launches(variant: str, training: bool) -> int:
    """Kernels of one step of a layer alone."""
    layer, x = layer_and_map(BenchCase("", CHANNELS, CHANNELS, 14), variant, training, 2)
    mode = Launches()
    with as_on_cuda(mode.kernel):
        if not training:
            layer.to(torch.bfloat16)
            with torch.no_grad(), mode:
                layer(x)
            return mode.count
        x.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16), mode:
            y = layer(x)
        dy = torch.zeros_like(y)
        with mode:
            y.backward(dy)
    return mode.count


def saved(case: BenchCase, variant: str) -> tuple[float, float]:
    """Bytes that a layer alone keeps for its backward pass: of every image, and once."""
    found = []
    for batch in (1, 2):
        layer, x = layer_and_map(case, variant, True, batch)
        autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        with as_on_cuda(lambda *_: None), autocast, Launches():
            found.append(saved_bytes(layer, x.requires_grad_()))
    return float(found[1] - found[0]), float(2 * found[0] - found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu_instructions.json"))
    out = parser.parse_args().out
    counted = {variant: count(variant) for variant in ("none", "rfa", "rfcbam", "rfca")}
    for variant in ("rfa", "rfcbam", "rfca"):
        for training in (False, True):
            mode = "training" if training else "inference"
            counted[variant][f"launches {mode}"] = launches(variant, training)
        for case in SUITES["resnet18"]:
            image, once = saved(case, variant)
            counted[variant] |= {f"saved {case.name}": image, f"saved once {case.name}": once}
    part = out.with_suffix(".part")
    part.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")
    os.replace(part, out)


if __name__ == "__main__":
    main()
