"""Writes the tables of the pages below that come from committed timings.

python benchmarks/performance_page.py
"""

from __future__ import annotations

from statistics import geometric_mean

from pages import Tables, fill, load, table

from rfaconv.bench.cases import SUITES

OPERATORS = ("rfa", "rfcbam", "rfca")
LAYERS = SUITES["resnet18"]
PAGES = ("docs/performance.md", "README.md", "README.zh-CN.md")


def inside(size: int, out: int, kernel: int, stride: int) -> float:
    """Share of the taps of a map that lie inside it, not in the padding."""
    pad = kernel // 2
    line = sum(0 <= o * stride + k - pad < size for o in range(out) for k in range(kernel))
    return (line / (out * kernel)) ** 2


def layers(name: str) -> list[str]:
    """Ratios to the convolution, per layer, beside RFAConv's floor."""
    rows = load(name)["rows"]
    found = {(r["case"], r["operator"], r["side"]): r for r in rows if r["status"] == "ok"}
    training = rows[0]["mode"] == "training"
    lines = []
    ratios: dict[str, list[float]] = {o: [] for o in OPERATORS}
    saved: dict[str, list[float]] = {o: [] for o in OPERATORS}
    floors: list[float] = []
    for case in LAYERS:
        convolution = min(found[case.name, o, "conv"]["ms"]["median"] for o in OPERATORS)
        cells = [case.name.removeprefix("resnet18."), f"{convolution:.2f}"]
        if not training:
            size = -(-case.size // case.stride)
            floors.append(case.floor / inside(case.size, size, case.kernel, case.stride))
            cells += [f"{case.floor:.2f}", f"{floors[-1]:.2f}"]
        for o in OPERATORS:
            ratios[o].append(found[case.name, o, "fused"]["ratio"]["median"])
            cells.append(f"{ratios[o][-1]:.2f}")
        if training:
            for o in OPERATORS:
                ours, theirs = (
                    found[case.name, o, side]["saved_bytes"] for side in ("fused", "conv")
                )
                saved[o].append(ours / theirs)
                cells.append(f"{saved[o][-1]:.2f}")
        lines.append(cells)
    means = [f"**{geometric_mean(ratios[o]):.2f}**" for o in OPERATORS]
    if training:
        means += [f"{geometric_mean(saved[o]):.2f}" for o in OPERATORS]
    else:
        plain = geometric_mean([case.floor for case in LAYERS])
        means = [f"{plain:.2f}", f"{geometric_mean(floors):.2f}", *means]
    lines.append(["**geometric mean**", "", *means])
    floor_heads = () if training else ("floor", "floor, padding")
    bytes_heads = tuple(f"bytes {o}" for o in OPERATORS) if training else ()
    heads = ("layer", "convolution, ms", *floor_heads, "RFA", "RFCBAM", "RFCA", *bytes_heads)
    return table(heads, lines)


def networks() -> list[str]:
    rows = [r for r in load("cpu-networks-batch8-2threads")["rows"] if r["status"] == "ok"]
    lines = []
    names = {"fused": "{}_resnet18", "onnxruntime": "{} as published, ONNX Runtime"}
    names["openvino"] = "{} as published, OpenVINO"
    for operator in OPERATORS:
        for side, name in names.items():
            mine = {r["mode"]: r for r in rows if (r["operator"], r["side"]) == (operator, side)}
            peak = mine.get("training", {}).get("peak_bytes")
            cells = [
                f"{mine[m]['ratio']['median']:.2f}" if m in mine else ""
                for m in ("inference", "training")
            ]
            label = name.format(operator if side == "fused" else operator.upper())
            lines.append((label, *cells, f"{peak / 2**20:.0f}" if peak else ""))
    plain = [
        r["peak_bytes"] / 2**20 for r in rows if r["side"] == "conv" and r["mode"] == "training"
    ]
    lines.append(("resnet18", "1.00", "1.00", f"{min(plain):.0f}"))
    return table(("", "inference", "training step", "peak memory of the step, MiB"), lines)


def batches() -> list[str]:
    """Cost per image at batch 1, relative to batch 8; geometric means over the layers."""

    def times(batch: int, operator: str, side: str) -> list[float]:
        rows = load(f"cpu-inference-batch{batch}-2threads")["rows"]
        return [
            r["ms"]["median"] / batch
            for r in rows
            if (r["operator"], r["side"], r["status"]) == (operator, side, "ok")
        ]

    sides = {"conv": ("rfa", "conv"), **{o: (o, "fused") for o in OPERATORS}}
    means = [
        geometric_mean([a / b for a, b in zip(times(1, *side), times(8, *side), strict=True)])
        for side in sides.values()
    ]
    return table(("", *sides), [("batch 1 / batch 8", *(f"{mean:.2f}" for mean in means))])


def mean(name: str, operator: str, side: str = "fused", mode: str | None = None) -> str:
    """Geometric mean of the ratios to the convolution."""
    rows = [
        r["ratio"]["median"]
        for r in load(name)["rows"]
        if (r["operator"], r["side"], r["status"]) == (operator, side, "ok")
        and mode in (None, r["mode"])
    ]
    return f"{geometric_mean(rows):.2f}" if rows else ""


PROCESSORS = {
    "EPYC of Zen 4, AVX-512": {
        "inference, batch 8": "cpu-inference-batch8-2threads",
        "inference, batch 1": "cpu-inference-batch1-2threads",
        "training step, batch 8": "cpu-training-batch8-2threads",
    },
    "EPYC of Zen 1, AVX2": {
        "inference, batch 8": "cpu-zen1-inference-batch8",
        "inference, batch 1": "cpu-zen1-inference-batch1",
        "inference, batch 8, `channels_last`": "cpu-zen1-channels-last-batch8",
        "training step, batch 8": "cpu-zen1-training-batch8",
    },
}


def processors() -> list[str]:
    """Geometric means over the layers by processor."""
    lines = []
    for processor, files in PROCESSORS.items():
        for label, name in files.items():
            lines.append((processor, label, *(mean(name, o) for o in OPERATORS)))
            processor = ""
    return table(("processor", "", "RFA", "RFCBAM", "RFCA"), lines)


def costs() -> list[str]:
    """The table of the README: geometric means over the layers, and the networks."""
    published = mean("cpu-rfa-inference-batch8-1thread", "rfa", "published")
    lines = []
    layers_of = {
        "inference, batch 8": "cpu-inference-batch8-2threads",
        "inference, batch 1": "cpu-inference-batch1-2threads",
        "training step, batch 8": "cpu-training-batch8-2threads",
    }
    for label, name in layers_of.items():
        cells = [mean(name, o) for o in OPERATORS]
        lines.append((label, *cells, published))
        published = ""
    for mode in ("inference", "training"):
        cells = [mean("cpu-networks-batch8-2threads", o, "fused", mode) for o in OPERATORS]
        lines.append((f"ResNet-18, {mode}, batch 8", *cells, ""))
    return table(("", "RFAConv", "RFCBAMConv", "RFCAConv", "RFAConv as published"), lines)


CHINESE = {
    "RFAConv as published": "公开代码的 RFAConv",
    "training step": "训练一步",
    "inference": "推理",
    "training": "训练",
    ", batch ": "，批量 ",
    "ResNet-18, ": "ResNet-18，",
}


def in_chinese(lines: list[str]) -> list[str]:
    """A table with its words in Chinese."""
    for english, chinese in CHINESE.items():
        lines = [line.replace(english, chinese) for line in lines]
    return lines


TABLES: Tables = {
    "inference8": lambda: layers("cpu-inference-batch8-2threads"),
    "inference1": lambda: layers("cpu-inference-batch1-2threads"),
    "training8": lambda: layers("cpu-training-batch8-2threads"),
    "networks": networks,
    "batches": batches,
    "processors": processors,
    "costs": costs,
    "costs_zh": lambda: in_chinese(costs()),
}


if __name__ == "__main__":
    fill(PAGES, TABLES)
