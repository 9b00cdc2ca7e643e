"""Writes the tables of docs/export.md and docs/export-custom.md from the committed results.

python benchmarks/export_page.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rfaconv.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUNTIMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
RECEPTIVE_FIELD = ("rfa", "rfcbam", "rfca")
OPERATORS = (*RECEPTIVE_FIELD, "cam", "cbam", "ca")
PROCESSORS = {
    "": "AMD EPYC (Zen 4)",
    "-zen5": "AMD EPYC (Zen 5)",
    "-xeon": "Intel Xeon (AMX)",
}
"""By the end of the results' names."""


def load(name: str) -> dict:
    return json.loads((RESULTS / f"export-{name}.json").read_text(encoding="utf-8"))


def networks(processor: str) -> list[str]:
    """Times relative to the plain network."""
    columns = {
        f"{RUNTIMES[target]}, batch {batch}": load(f"{target}-{batch}{processor}")["networks"]
        for target in RUNTIMES
        for batch in (1, 8)
    }
    plain, rows = "resnet18", {f"{o}_resnet18": f"{o}_resnet18" for o in OPERATORS}
    rows |= {f"{o}_published": f"{o} as published" for o in RECEPTIVE_FIELD}
    lines = [[""], ["---"], *([label] for label in rows.values()), [plain]]
    for head, found in columns.items():
        ratios = [f"{found[name]['ratio']:.2f}" for name in rows]
        cells = [head, "---", *ratios, f"{found[plain]['ms']:.0f} ms"]
        for line, cell in zip(lines, cells, strict=True):
            line.append(cell)
    return ["| " + " | ".join(line) + " |" for line in lines]


def against_published() -> list[str]:
    """How many times faster than the published formulation."""
    heads = [f"{o}, batch {b}" for o in RECEPTIVE_FIELD for b in (1, 8)]
    lines = ["| | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for processor, named in PROCESSORS.items():
        for target, runtime in RUNTIMES.items():
            found = {b: load(f"{target}-{b}{processor}")["networks"] for b in (1, 8)}
            cells = [f"{faster(found[b], o):.2f}" for o in RECEPTIVE_FIELD for b in (1, 8)]
            lines.append(f"| {runtime}, {named} | " + " | ".join(cells) + " |")
    return lines


def faster(found: dict, operator: str) -> float:
    return found[f"{operator}_published"]["ms"] / found[f"{operator}_resnet18"]["ms"]


def custom() -> list[str]:
    """ONNX Runtime with our kernels, relative to the plain network there."""
    lines = ["| | RFAConv | RFCBAMConv | RFCAConv | plain |", "|---" * 5 + "|"]
    for processor, named in PROCESSORS.items():
        for batch, found in load(f"onnxruntime-custom{processor}")["batches"].items():
            ratios = [f"{found[f'{o}_resnet18']['ratio']['median']:.2f}" for o in RECEPTIVE_FIELD]
            plain = f"{found['resnet18']['milliseconds']['median']:.1f} ms"
            lines.append(f"| {named}, batch {batch} | " + " | ".join([*ratios, plain]) + " |")
    return lines


def int8() -> list[str]:
    """Accuracy, size and speed."""
    lines = [
        "| network | runtime | float32, test | int8, test | drop, test | drop, validation "
        "| file | time, batch 1 | batch 8 |",
        "|---" * 9 + "|",
    ]
    for name, found in load("int8")["networks"].items():
        for target, runtime in RUNTIMES.items():
            tests = [found["accuracy"][f"{target} {kind}"]["test"] for kind in ("float32", "int8")]
            right = [f"{100 * t['right'] / t['images']:.2f} %" for t in tests]
            drops = [found["drop in points"][f"{target} {part}"] for part in ("test", "val")]
            times = [found["speed"][f"{target} {b}"] for b in (1, 8)]
            cells = [
                f"{name}, {found['size']} pixels", runtime, *right, *(f"{d:+.2f}" for d in drops),
                f"{100 * found['share'][target]:.1f} %",
                *(f"{t['ratio']:.2f} of {t['float32 ms']:.1f} ms" for t in times),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def mobile() -> list[str]:
    """Errors and speeds of the runtimes of phones, one thread of this kind of processor."""
    rows = load("mobile")["rows"]
    targets = [
        t for t in ("executorch", "litert", "ncnn", "coreml") if any(r["target"] == t for r in rows)
    ]
    names = list(dict.fromkeys(row["network"] for row in rows))
    cells = {(row["network"], row["target"]): row for row in rows}
    lines = [f"| network | {' | '.join(targets)} |", "|---" * (len(targets) + 1) + "|"]
    for name in names:
        texts = []
        for target in targets:
            row = cells.get((name, target), {})
            if "error" in row:
                differs = "" if row["holds"] else "differs: "
                speed = row["ms"] / row["torch_ms"]
                texts.append(f"{differs}{row['error']:.0e}, {row['ms']:.1f} ms, {speed:.2f}")
            else:
                texts.append("converted" if row.get("converted") else row.get("reason", ""))
        lines.append(f"| {name} | {' | '.join(texts)} |")
    used = {k: v for row in rows for k, v in row["versions"].items()}
    with_what = ", ".join(f"{k} {v}" for k, v in used.items())
    processors = ", ".join(sorted({row["processor"] for row in rows}))
    return [*lines, "", f"{processors}, one thread, with {with_what}."]


def precision() -> list[str]:
    """OpenVINO's own choice of precision beside float32."""
    found = load("openvino-precision")
    lines = ["| network | it chooses | error | in float32 | time | in float32 |", "|---" * 6 + "|"]
    for name, row in found["networks"].items():
        own, exact = row["ms own choice"], row["ms f32"]
        chosen = row["chosen"].partition("'")[2].rstrip("'>") or row["chosen"]
        cells = [
            name, chosen, f"{row['error own choice']:.0e}", f"{row['error f32']:.0e}",
            f"{own / exact:.2f}", f"{exact:.1f} ms",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return [*lines, "", f"{found['processor']}, {threads}, OpenVINO {found['openvino']}."]


def openvino_kernels() -> list[str]:
    """OpenVINO with our kernels and with its own operations, relative to the plain network."""
    found = load("openvino-kernels")
    lines = ["| network | batch | OpenVINO's operations | our kernels | error |", "|---" * 5 + "|"]
    for batch, values in found["batches"].items():
        times = values["ms"]
        lines.append(f"| resnet18 | {batch} | {times['resnet18']:.1f} ms | | |")
        for name, error in values["errors"].items():
            own, ours = (times[n] / times["resnet18"] for n in (name, f"{name}, our kernels"))
            lines.append(f"| {name} | {batch} | {own:.2f} | {ours:.2f} | {error:.0e} |")
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return [*lines, "", f"{found['processor']}, {threads}, OpenVINO {found['openvino']}."]


TABLES: dict[str, Callable[[], list[str]]] = {
    "networks": partial(networks, ""),
    "networks-zen5": partial(networks, "-zen5"),
    "networks-xeon": partial(networks, "-xeon"),
    "published": against_published,
    "custom": custom,
    "int8": int8,
    "mobile": mobile,
    "openvino-kernels": openvino_kernels,
    "precision": precision,
}


def filled(text: str) -> str:
    """The page with its tables made anew."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n" + "\n".join(TABLES[match[1]]()) + "\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main() -> None:
    for name in ("export.md", "export-custom.md"):
        page = ROOT / "docs" / name
        write_atomic(page, filled(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
