"""Predicts the figures of ``docs/internals/gpu.md`` from bytes, operations and instructions.

    PYTHONPATH=src python benchmarks/predict_gpu.py --write docs/internals/gpu.md

Nothing here was measured on a GPU. A kernel takes the longest of: its bytes at a share of the
memory bandwidth, its product at a share of the tensor cores' rate, its instructions (counted in the
machine code by ``count_gpu.py``) at a share of the schedulers' rate. Every launch adds a gap.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from rfaconv.backends.triton.common import configs
from rfaconv.bench.cases import SUITES, BenchCase

HERE = Path(__file__).resolve().parent
INSTRUCTIONS: dict[str, dict[str, float]] = json.loads(
    (HERE / "gpu_instructions.json").read_text(encoding="utf-8")
)
MULTIPROCESSORS = 132
WORKSPACE_BYTES = 128 * 2**20  # of launch.py, which imports Triton
LINES = 4  # rows of ``configs.lines`` under the Triton that the instructions were counted with
MARKS = ("<!-- prediction -->", "<!-- /prediction -->")


@dataclass(frozen=True)
class Machine:
    """An H200 by its data sheet, and the shares of it that kernels are assumed to reach.

    Attributes:
        bandwidth: Bytes/s of memory.
        product: Dense bfloat16 operations/s of the tensor cores.
        issue: Instructions of single threads per second, over all schedulers.
        memory_share: Of the bandwidth, for kernels that stream.
        product_share: Of the product rate, for cuDNN and cuBLAS.
        issue_share: Of the issue rate, for our kernels.
        depthwise_share: Of the bandwidth, for cuDNN's grouped convolutions.
        gap: Seconds between kernels of a stream or a CUDA graph.
    """

    bandwidth: float = 4.8e12
    product: float = 989e12
    issue: float = MULTIPROCESSORS * 128 * 1.755e9
    memory_share: float = 0.85
    product_share: float = 0.6
    issue_share: float = 0.65
    depthwise_share: float = 0.4
    gap: float = 1.5e-6


@dataclass(frozen=True)
class Counts:
    """What has to be done at the least: bytes moved, product operations, vector instructions."""

    bytes: float
    product_flops: float
    vector: float


def sizes(case: BenchCase, batch: int) -> tuple[float, float, float]:
    """Elements of the input, of one tap of the panel (channels x output pixels), of the output."""
    out = -(-case.size // case.stride)
    pixels = batch * out * out
    whole = batch * case.size**2 * case.in_channels
    return float(whole), float(pixels * case.in_channels), float(pixels * case.out_channels)


def counts(case: BenchCase, operator: str, training: bool, batch: int, itemsize: int) -> Counts:
    """The least of an operator: its input and output once, its product, design.md's instructions.

    A training step does three products, and reads x twice and dy once more and writes dx.
    """
    x, panel, y = sizes(case, batch)
    taps = case.kernel**2
    flops = 2.0 * taps * case.out_channels * panel
    vector = 0.0 if operator == "conv" else (taps**2 + 100.0) * panel
    if not training:
        return Counts((x + y) * itemsize, flops, vector)
    return Counts((3 * x + 2 * y) * itemsize, 3 * flops, 4 * vector)


def kernel(
    machine: Machine, *, bytes: float = 0, flops: float = 0, instructions: float = 0
) -> float:
    """Seconds of one kernel."""
    return machine.gap + max(
        bytes / (machine.bandwidth * machine.memory_share),
        flops / (machine.product * machine.product_share),
        instructions / (machine.issue * machine.issue_share),
    )


def small(machine: Machine, launches: float) -> float:
    """Seconds of kernels on tensors too small to matter: their launches."""
    return launches * (machine.gap + 1.5e-6)


def convolution(machine: Machine, case: BenchCase, batch: int, training: bool) -> float:
    """Conv2d + BatchNorm + ReLU: folded in inference; in training BatchNorm and ReLU stream."""
    x, panel, y = sizes(case, batch)
    flops = 2.0 * case.kernel**2 * case.out_channels * panel
    forward = kernel(machine, bytes=2 * (x + y), flops=flops)
    if not training:
        return forward
    backward = 2 * kernel(machine, bytes=2 * (x + y), flops=flops)
    return forward + backward + norm(machine, y)


def norm(machine: Machine, y: float) -> float:
    """BatchNorm and ReLU of the output, forward and backward, both sides alike."""
    return (
        kernel(machine, bytes=2 * 3 * y)
        + kernel(machine, bytes=2 * 5 * y)
        + 2 * kernel(machine, bytes=2 * 2.5 * y)
    )


def per_pixel(
    issued: dict[str, float], name: str, case: BenchCase, panel: float, programs: int = 1
) -> float:
    """Instructions of a kernel that goes through the channels of a pixel, in so many programs."""
    return issued[name] * panel + issued[f"{name} once"] * programs * panel / case.in_channels


def projection(machine: Machine, case: BenchCase, operator: str, batch: int) -> list[float]:
    """The forward projection, as the table of configurations runs it."""
    x, panel, y = sizes(case, batch)
    issued, taps = INSTRUCTIONS[operator], case.kernel**2
    config = configs.project(
        "bfloat16", taps, case.out_channels, tensor_cores=True, variant=operator
    )
    # eight channels at a time: 80 rows and columns for the features, 80 rows of K
    features = 2.0 * 80 * 80 / 8 * panel
    if config.path == "panel":
        wide = 2.0 * taps * panel
        flops = 2.0 * taps * case.out_channels * panel
        pixels = panel / case.in_channels
        groups = configs.panel_groups(math.ceil(pixels / configs.PANEL.block_p), case.in_channels)
        programs = math.ceil(case.in_channels / (8 * groups))
        instructions = per_pixel(issued, "panel_tensor_cores", case, panel, programs)
        return [
            kernel(machine, bytes=2 * x + wide, flops=features, instructions=instructions),
            kernel(machine, bytes=wide + 2 * y, flops=flops),
        ]
    columns = math.ceil(case.out_channels / config.block_o)
    programs = columns * math.ceil(panel / case.in_channels / config.block_p)
    # the last wave of programs leaves multiprocessors idle
    busy = programs / (MULTIPROCESSORS * math.ceil(programs / MULTIPROCESSORS))
    block = next(o for o in (64, 128, 256) if case.out_channels <= o)
    flops = columns * features + 2.0 * 80 / 8 * case.out_channels * panel
    instructions = columns * per_pixel(issued, f"project_tensor_cores O{block}", case, panel)
    return [
        kernel(machine, bytes=2 * (x + y), flops=flops / busy, instructions=instructions / busy)
    ]


def gates(
    machine: Machine, case: BenchCase, operator: str, batch: int, training: bool
) -> list[float]:
    """The kernels that make gates, and their gradients, but for those as small as rfcbam's of
    channels.
    """
    x, panel, _ = sizes(case, batch)
    issued, pixels = INSTRUCTIONS[operator], panel / case.in_channels
    maps = 4.0 * case.kernel**2 * pixels
    lines = 2.0 * batch * case.kernel * math.sqrt(pixels / batch) * case.in_channels

    def spent(name: str, bytes: float, elements: float) -> float:
        return kernel(machine, bytes=bytes, instructions=issued[name] * elements)

    if operator == "rfcbam":
        # the mean of x; maxima and means read, gates written
        found = [kernel(machine, bytes=2 * x), spent("pixel_gate_forward", 3 * maps, pixels)]
        if training:  # of the maximum and of the mean, in one launch
            found.append(spent("pixel_gate_backward", 8 * maps, 2 * pixels))
            # four maps become packed
            found.append(kernel(machine, bytes=8 * maps))
        return found
    if operator == "rfca" and training:
        once, twice = 4.0 * lines, 8.0 * lines
        return [
            spent("hidden_forward", once, lines),
            spent("gates_forward", once, lines),
            spent("gates_backward", once, lines),
            spent("gates_weights", once, lines),
            spent("hidden_backward", twice, lines),
        ]
    if operator == "rfca":
        return [spent("coordinate_forward", 8.0 * lines, lines)]
    return []


def ours(machine: Machine, case: BenchCase, operator: str, batch: int, training: bool) -> float:
    """The kernels of this library, as the table of configurations runs them."""
    x, panel, y = sizes(case, batch)
    issued = INSTRUCTIONS[operator]
    taps, wide = case.kernel**2, 2.0 * case.kernel**2 * panel  # bytes of the panel
    flops = 2.0 * taps * case.out_channels * panel

    def spent(name: str, bytes: float = 0.0) -> float:
        return kernel(machine, bytes=bytes, instructions=issued[name] * panel)

    kernels = projection(machine, case, operator, batch)
    statistics = {"rfcbam": "stats reduce_channels", "rfca": "stats scan_lines"}.get(operator)
    # sums over columns that a program of some rows leaves, and the one kernel that joins them
    lines = 4.0 * case.kernel * panel / LINES
    lines = lines if operator == "rfca" else 0.0
    if operator == "rfca":
        kernels.append(kernel(machine, bytes=lines))
    if operator == "rfcbam" and not training:
        products = 2.0 * 80 * 80 / 8 * panel  # as in the projection
        issue = per_pixel(issued, "channels_tensor_cores", case, panel)
        kernels.append(kernel(machine, bytes=2 * x, flops=products, instructions=issue))
    elif statistics:
        kernels.append(spent(statistics, 2 * x + lines))
    kernels += gates(machine, case, operator, batch, training)
    if training:
        out = -(-case.size // case.stride)
        # rows of the input's gradient, and the sums that a program leaves, which one more reads
        rows = 2.0 * case.kernel * batch * out * case.size * case.in_channels
        scan = configs.along_rows(case.in_channels, (out, out))
        programs = batch * math.ceil(out / scan.length)
        sums = 4.0 * programs * case.in_channels * (taps**2 + 2 * taps)

        def scanned(name: str, instructions: dict[str, float], bytes: float) -> list[float]:
            """A row scan, the sum of what its programs leave, and the gather of its rows."""
            found = [
                kernel(machine, bytes=bytes, instructions=instructions[name] * panel),
                kernel(machine, bytes=sums),
            ]
            gathered = INSTRUCTIONS["rfa"]["gather_rows"] * x
            found.append(kernel(machine, bytes=rows + 2 * x, instructions=gathered))
            return found

        product = kernel(machine, bytes=wide + 2 * y, flops=flops)
        moments = INSTRUCTIONS["rfa"]
        kernels += scanned(f"scan_moments {case.stride}", moments, 2 * x + sums)[:2]
        kernels += scanned(f"scan_moments_backward {case.stride}", moments, 2 * x + rows)[::2]
        kernels += [
            product,
            product,
            # the mean of x, and its gradients added; that of rfcbam's channels is one number each
            kernel(machine, bytes=2 * x),
            kernel(machine, bytes={"rfa": 6, "rfcbam": 10, "rfca": 6}[operator] * x),
        ]
        if operator == "rfa":
            kernels += scanned("scan_backward", issued, 2 * wide + 2 * x + rows + sums)
        else:
            # linked: the projection's part reads dA and writes the panel, one scan reads dA
            part = {"rfcbam": "link_channels", "rfca": "scan_lines"}[operator]
            kernels.append(spent(part, 2 * wide + 2 * x + lines))
            if operator == "rfcbam":  # how many channels share a maximum
                kernels.append(spent("joint reduce_channels", 2 * x))
            kernels += scanned("joint scan_backward", issued, wide + 2 * x + rows + sums)
        # the panel and its gradient are made for a chunk of images at a time
        chunks = math.ceil(wide / WORKSPACE_BYTES)
        kernels.append((chunks - 1) * 6 * machine.gap)
    counted = issued["launches training" if training else "launches inference"]
    total = sum(kernels) + small(machine, max(0, counted - len(kernels)))
    return total + norm(machine, y) if training else total


def published(
    machine: Machine, case: BenchCase, operator: str, batch: int, training: bool, compiled: bool
) -> float:
    """The literal formulation: about ten maps of nine times the size, written and read.

    Compiled, the element-wise operations between two convolutions run as one kernel.
    """
    x, panel, y = sizes(case, batch)
    wide = 2.0 * case.kernel**2 * panel
    flops = 2.0 * case.kernel**2 * case.out_channels * panel
    grouped = machine.memory_share / machine.depthwise_share
    # traffic in maps: grouped convolutions; then ReLU, softmax, product, rearrangement
    convolutions = {"rfa": 2.0, "rfcbam": 1.0, "rfca": 1.0}[operator]
    streams = {"rfa": 2 + 2 + 3 + 2, "rfcbam": 2 + 2 + 2 + 3 + 3, "rfca": 2 + 2 + 2 + 3 + 3}[
        operator
    ]
    if compiled:
        streams = {"rfa": 3, "rfcbam": 5, "rfca": 5}[operator]
    maps = convolutions * grouped + streams
    total = kernel(machine, bytes=maps * wide + 2 * x) + kernel(
        machine, bytes=wide + 2 * y, flops=flops
    )
    total += small(machine, 4 if compiled else 12)
    if not training:
        return total
    # BatchNorm forward in training (3 maps); every stream has a gradient of one map more; grouped
    # convolutions have two gradients, each reading two maps
    backward = convolutions * 3 * grouped + (1.6 * streams + 5)
    total += kernel(machine, bytes=(3 + backward) * wide)
    total += 2 * kernel(machine, bytes=wide + 2 * y, flops=flops)
    return total + norm(machine, y) + small(machine, 20)


def mean(values: list[float]) -> float:
    """Geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def saved(case: BenchCase, operator: str, batch: int) -> float:
    """Bytes kept for backward relative to the convolution's, BatchNorm and ReLU included.

    What the layer keeps was counted in a run of the host code. The weight in 16 bits is among it,
    which autocast makes for a convolution too, where it is left out here.
    """
    x, _, y = sizes(case, batch)
    issued = INSTRUCTIONS[operator]
    layer = batch * issued[f"saved {case.name}"] + issued[f"saved once {case.name}"]
    return (layer + 2 * 2 * y) / (2 * (x + 2 * y))


def report(machine: Machine, batch: int = 64) -> str:
    """The tables of the page."""
    layers = SUITES["resnet18"]
    lines = [
        f"Assumed: {machine.bandwidth / 1e12:.1f} TB/s at {machine.memory_share:.0%}, "
        f"{machine.product / 1e12:.0f} TFLOP/s at {machine.product_share:.0%}, instructions at "
        f"{machine.issue_share:.0%} of {machine.issue / 1e12:.1f} T/s, grouped convolutions at "
        f"{machine.depthwise_share:.0%} of the bandwidth, {machine.gap * 1e6:.1f} µs between "
        "kernels.",
        "",
        "Geometric means over the `conv1` layers of ResNet-18, bfloat16, channels_last, batch "
        f"{batch}:",
        "",
        "| figure | wanted | rfa | rfcbam | rfca |",
        "|---|---|---|---|---|",
    ]
    operators = ("rfa", "rfcbam", "rfca")

    def row(name: str, wanted: str, values: list[float]) -> None:
        lines.append(f"| {name} | {wanted} | " + " | ".join(f"{v:.1f}" for v in values) + " |")

    for training, limits in ((False, ("≤ 2.0", "≥ 10", "≥ 3")), (True, ("≤ 2.5", "≥ 6", "none"))):
        mode = "training step" if training else "inference"
        conv = [convolution(machine, c, batch, training) for c in layers]
        own = {o: [ours(machine, c, o, batch, training) for c in layers] for o in operators}
        ratios = [mean([a / b for a, b in zip(own[o], conv, strict=True)]) for o in operators]
        row(f"{mode} / convolution", limits[0], ratios)
        for compiled in (False, True):
            gains = []
            for o in operators:
                other = [published(machine, c, o, batch, training, compiled) for c in layers]
                gains.append(mean([a / b for a, b in zip(other, own[o], strict=True)]))
            name = "compiled published" if compiled else "published"
            row(f"{name} / {mode}", limits[1 + compiled], gains)
    row(
        "bytes saved for backward / convolution",
        "≤ 1.3",
        [mean([saved(c, o, batch) for c in layers]) for o in operators],
    )
    lines += ["", "Per layer, rfa, microseconds:", ""]
    lines += [
        "| layer | conv | ours | published | conv, training | ours | published |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in layers:
        times = []
        for training in (False, True):
            times.append(convolution(machine, case, batch, training))
            times.append(ours(machine, case, "rfa", batch, training))
            times.append(published(machine, case, "rfa", batch, training, False))
        lines.append(f"| {case.name} | " + " | ".join(f"{t * 1e6:.0f}" for t in times) + " |")
    step, plain = network(machine, "rfa"), network(machine, "")
    lines += [
        "",
        f"`rfa_resnet18`, batch 128, 224 pixels: training step {step / plain:.1f} times that of "
        f"resnet18 ({plain * 1e3:.1f} ms assumed for resnet18; wanted ≤ 1.8).",
    ]
    return "\n".join(lines)


def network(machine: Machine, operator: str, batch: int = 128) -> float:
    """A training step of ResNet-18: its 20 convolutions, eight of them replaced or none."""
    stem = BenchCase("stem", 3, 64, 224, 7, 2)
    plain = [stem]
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        plain += [BenchCase("conv2", channels, channels, size)] * 2
        if channels > 64:
            plain.append(BenchCase("shortcut", channels // 2, channels, 2 * size, 1, 2))
    total = sum(convolution(machine, case, batch, True) for case in plain)
    for case in SUITES["resnet18"]:
        if operator:
            total += ours(machine, case, operator, batch, True)
        else:
            total += convolution(machine, case, batch, True)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page whose marked part is replaced")
    page = parser.parse_args().write
    text = report(Machine())
    if page is None:
        print(text)
        return
    head, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, tail = rest.partition(MARKS[1])
    part = page.with_suffix(".part")
    part.write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}", encoding="utf-8")
    os.replace(part, page)


if __name__ == "__main__":
    main()
