"""Writes the tables of docs/export.md and docs/export-custom.md from the committed results.

python benchmarks/export_page.py
"""

from __future__ import annotations

from functools import partial

from pages import Tables, fill, load, table

RUNTIMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
RECEPTIVE_FIELD = ("rfa", "rfcbam", "rfca")
OPERATORS = (*RECEPTIVE_FIELD, "cam", "cbam", "ca")
PROCESSORS = {
    "": "AMD EPYC (Zen 4)",
    "-zen5": "AMD EPYC (Zen 5)",
    "-xeon": "Intel Xeon (AMX)",
}
"""By the end of the results' names."""


def networks(processor: str) -> list[str]:
    """Times relative to the plain network."""
    columns = {
        f"{RUNTIMES[target]}, batch {batch}": load(f"export-{target}-{batch}{processor}")[
            "networks"
        ]
        for target in RUNTIMES
        for batch in (1, 8)
    }
    plain, rows = "resnet18", {f"{o}_resnet18": f"{o}_resnet18" for o in OPERATORS}
    rows |= {f"{o}_published": f"{o} as published" for o in RECEPTIVE_FIELD}
    lines = [
        [label, *(f"{found[name]['ratio']:.2f}" for found in columns.values())]
        for name, label in rows.items()
    ]
    lines.append([plain, *(f"{found[plain]['ms']:.0f} ms" for found in columns.values())])
    return table(("", *columns), lines)


def against_published() -> list[str]:
    """How many times faster than the published formulation."""
    rows = []
    for processor, named in PROCESSORS.items():
        for target, runtime in RUNTIMES.items():
            found = {b: load(f"export-{target}-{b}{processor}")["networks"] for b in (1, 8)}
            cells = [f"{faster(found[b], o):.2f}" for o in RECEPTIVE_FIELD for b in (1, 8)]
            rows.append((f"{runtime}, {named}", *cells))
    return table(("", *(f"{o}, batch {b}" for o in RECEPTIVE_FIELD for b in (1, 8))), rows)


def faster(found: dict, operator: str) -> float:
    return found[f"{operator}_published"]["ms"] / found[f"{operator}_resnet18"]["ms"]


def custom() -> list[str]:
    """ONNX Runtime with our kernels, relative to the plain network there."""
    rows = []
    for processor, named in PROCESSORS.items():
        for batch, found in load(f"export-onnxruntime-custom{processor}")["batches"].items():
            ratios = [f"{found[f'{o}_resnet18']['ratio']['median']:.2f}" for o in RECEPTIVE_FIELD]
            plain = f"{found['resnet18']['milliseconds']['median']:.1f} ms"
            rows.append((f"{named}, batch {batch}", *ratios, plain))
    return table(("", "RFAConv", "RFCBAMConv", "RFCAConv", "plain"), rows)


def int8() -> list[str]:
    """Accuracy, size and speed."""
    rows = []
    for name, found in load("export-int8")["networks"].items():
        for target, runtime in RUNTIMES.items():
            tests = [found["accuracy"][f"{target} {kind}"]["test"] for kind in ("float32", "int8")]
            right = [f"{100 * t['right'] / t['images']:.2f} %" for t in tests]
            drops = [found["drop in points"][f"{target} {part}"] for part in ("test", "val")]
            times = [found["speed"][f"{target} {b}"] for b in (1, 8)]
            rows.append((
                f"{name}, {found['size']} pixels", runtime, *right, *(f"{d:+.2f}" for d in drops),
                f"{100 * found['share'][target]:.1f} %",
                *(f"{t['ratio']:.2f} of {t['float32 ms']:.1f} ms" for t in times),
            ))  # fmt: skip
    heads = ("network", "runtime", "float32, test", "int8, test", "drop, test", "drop, validation")
    return table((*heads, "file", "time, batch 1", "batch 8"), rows)


def mobile() -> list[str]:
    """Errors and speeds of the runtimes of phones, one thread of this kind of processor."""
    rows = load("export-mobile")["rows"]
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
    found = load("export-openvino-precision")
    rows = []
    for name, row in found["networks"].items():
        own, exact = row["ms own choice"], row["ms f32"]
        chosen = row["chosen"].partition("'")[2].rstrip("'>") or row["chosen"]
        rows.append((
            name, chosen, f"{row['error own choice']:.0e}", f"{row['error f32']:.0e}",
            f"{own / exact:.2f}", f"{exact:.1f} ms",
        ))  # fmt: skip
    heads = ("network", "it chooses", "error", "in float32", "time", "in float32")
    return [*table(heads, rows), *conditions(found)]


def conditions(found: dict) -> list[str]:
    """A sentence below a table of OpenVINO's."""
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return ["", f"{found['processor']}, {threads}, OpenVINO {found['openvino']}."]


def openvino_kernels() -> list[str]:
    """OpenVINO with our kernels and with its own operations, relative to the plain network."""
    found = load("export-openvino-kernels")
    rows: list[tuple] = []
    for batch, values in found["batches"].items():
        times = values["ms"]
        rows.append(("resnet18", batch, f"{times['resnet18']:.1f} ms", "", ""))
        for name, error in values["errors"].items():
            own, ours = (times[n] / times["resnet18"] for n in (name, f"{name}, our kernels"))
            rows.append((name, batch, f"{own:.2f}", f"{ours:.2f}", f"{error:.0e}"))
    heads = ("network", "batch", "OpenVINO's operations", "our kernels", "error")
    return [*table(heads, rows), *conditions(found)]


TABLES: Tables = {
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


if __name__ == "__main__":
    fill(("docs/export.md", "docs/export-custom.md"), TABLES)
