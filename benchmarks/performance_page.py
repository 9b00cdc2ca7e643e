"""Writes the tables of the pages below that come from committed timings.

python benchmarks/performance_page.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rfaconv.bench.cases import SUITES
from rfaconv.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OPERATORS = ("rfa", "rfcbam", "rfca")
LAYERS = SUITES["resnet18"]
PAGES = ("docs/performance.md", "docs/notes/performance.md", "README.md", "README.zh-CN.md")


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


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
    floor_head = "" if training else " floor | floor, padding |"
    bytes_head = "".join(f" bytes {o} |" for o in OPERATORS) if training else ""
    lines = [
        f"| layer | convolution, ms |{floor_head} RFA | RFCBAM | RFCA |{bytes_head}",
        "|---" * (5 + (3 if training else 2)) + "|",
    ]
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
        lines.append("| " + " | ".join(cells) + " |")
    means = [f"**{geometric_mean(ratios[o]):.2f}**" for o in OPERATORS]
    if training:
        means += [f"{geometric_mean(saved[o]):.2f}" for o in OPERATORS]
    else:
        plain = geometric_mean([case.floor for case in LAYERS])
        means = [f"{plain:.2f}", f"{geometric_mean(floors):.2f}", *means]
    lines.append("| **geometric mean** | | " + " | ".join(means) + " |")
    return lines


def networks() -> list[str]:
    rows = [r for r in load("cpu-networks-batch8-2threads")["rows"] if r["status"] == "ok"]
    lines = ["| | inference | training step | peak memory of the step, MiB |", "|---|---|---|---|"]
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
            lines.append(
                f"| {label} | {cells[0]} | {cells[1]} | {peak / 2**20:.0f} |"
                if peak
                else f"| {label} | {cells[0]} | {cells[1]} | |"
            )
    plain = [
        r["peak_bytes"] / 2**20 for r in rows if r["side"] == "conv" and r["mode"] == "training"
    ]
    lines.append(f"| resnet18 | 1.00 | 1.00 | {min(plain):.0f} |")
    return lines


def scaling() -> list[str]:
    result = load("cpu-scaling")
    batches = result["batches"]
    lines = [
        "| | gain of a second thread | cost per image at batch "
        + ", ".join(map(str, batches))
        + ", relative to batch 8 |",
        "|---|---|---|",
    ]
    for side in dict.fromkeys(r["side"] for r in result["rows"]):
        mine = [r for r in result["rows"] if r["side"] == side]
        gain = geometric_mean([r["ms_by_threads"][0] / r["ms_by_threads"][1] for r in mine])
        at = batches.index(8)
        costs = [
            geometric_mean(
                [r["ms_per_image_by_batch"][i] / r["ms_per_image_by_batch"][at] for r in mine]
            )
            for i in range(len(batches))
        ]
        lines.append(f"| {side} | {gain:.2f} | " + ", ".join(f"{c:.2f}" for c in costs) + " |")
    return lines


def one_call() -> list[str]:
    """What the one call of a layer gains over separate operations."""
    rows = load("cpu-one-call")["rows"]
    lines = ["| | " + " | ".join(OPERATORS) + " |", "|---" * 4 + "|"]
    for batch in dict.fromkeys(r["batch"] for r in rows):
        for key, label in (("separate_ms", "separate operations"), ("one_call_ms", "one call")):
            cells = []
            for operator in OPERATORS:
                mine = [r for r in rows if (r["batch"], r["operator"]) == (batch, operator)]
                ratio = geometric_mean([r[key] / r["convolution_ms"] for r in mine])
                cells.append(f"{ratio:.2f}")
            lines.append(f"| {label}, batch {batch} | " + " | ".join(cells) + " |")
    return lines


def costs() -> list[str]:
    """The table of the README: geometric means over the layers, and the networks."""

    def mean(name: str, operator: str, side: str = "fused", mode: str | None = None) -> str:
        rows = [
            r["ratio"]["median"]
            for r in load(name)["rows"]
            if (r["operator"], r["side"], r["status"]) == (operator, side, "ok")
            and mode in (None, r["mode"])
        ]
        return f"{geometric_mean(rows):.2f}" if rows else ""

    published = mean("cpu-rfa-inference-batch8-1thread", "rfa", "published")
    lines = [
        "| | RFAConv | RFCBAMConv | RFCAConv | RFAConv as published |",
        "|---|---|---|---|---|",
    ]
    layers_of = {
        "inference, batch 8": "cpu-inference-batch8-2threads",
        "inference, batch 1": "cpu-inference-batch1-2threads",
        "training step, batch 8": "cpu-training-batch8-2threads",
    }
    for label, name in layers_of.items():
        cells = [mean(name, o) for o in OPERATORS]
        lines.append(f"| {label} | {' | '.join(cells)} | {published} |")
        published = ""
    for mode in ("inference", "training"):
        cells = [mean("cpu-networks-batch8-2threads", o, "fused", mode) for o in OPERATORS]
        lines.append(f"| ResNet-18, {mode}, batch 8 | {' | '.join(cells)} | |")
    return lines


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


TABLES: dict[str, Callable[[], list[str]]] = {
    "inference8": lambda: layers("cpu-inference-batch8-2threads"),
    "inference1": lambda: layers("cpu-inference-batch1-2threads"),
    "training8": lambda: layers("cpu-training-batch8-2threads"),
    "networks": networks,
    "scaling": scaling,
    "one_call": one_call,
    "costs": costs,
    "costs_zh": lambda: in_chinese(costs()),
}


def main() -> None:
    def fill(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n" + "\n".join(TABLES[match[1]]()) + "\n<!-- end -->"

    for name in PAGES:
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        write_atomic(
            page,
            re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL),
        )


if __name__ == "__main__":
    main()
