"""Writes the tables of docs/detection.md and docs/segmentation.md from the committed results.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from pages import RESULTS, fill, load

from rfaconv.lab.data.loaders import GlobalBatches
from rfaconv.lab.networks.classifiers import COMPARABLE


def runs(folder: str) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for path in sorted((RESULTS / folder).glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found[run["operator"]].append(run)
    return {operator: found[operator] for operator in COMPARABLE if operator in found}


def spread(values: Iterable[float]) -> str:
    numbers = [100 * v for v in values]
    if len(numbers) == 1:
        return f"{numbers[0]:.1f}"
    return f"{statistics.mean(numbers):.1f} ± {statistics.stdev(numbers):.1f}"


def against(found: dict[str, list[dict]], operator: str, key: str) -> str:
    """Mean difference to the convolution over the seeds that both have."""
    plain = {run["seed"]: run[key] for run in found.get("conv", [])}
    pairs = [run[key] - plain[run["seed"]] for run in found[operator] if run["seed"] in plain]
    return f"{100 * statistics.mean(pairs):+.1f}" if pairs and operator != "conv" else ""


BCCD_PICTURES = 205


def yolo_steps(run: dict, resumed: int = 0) -> int:
    """Optimizer steps of a training on BCCD by ultralytics.

    Trainings before the steps were counted get the number from ultralytics' rule: gradients are
    gathered to the nominal batch, in the warm-up over less batches. For 15 epochs it gives the 53
    steps that were counted.
    """
    if "optimizer_steps" in run:
        return int(run["optimizer_steps"])
    schedule = {"batch": 8, "nbs": 64, "warmup_epochs": 1, **run.get("schedule", {})}
    batches = -(-BCCD_PICTURES // schedule["batch"])
    warm = round(min(schedule["warmup_epochs"], run["epochs"] - 1) * batches)
    nominal = gather = round(schedule["nbs"] / schedule["batch"])
    last, steps = -1, 0
    for i in range(run["epochs"] * batches):
        if resumed and i == resumed * batches:
            last = -1
        if i <= warm:
            gather = max(1, round(1 + (nominal - 1) * i / warm))
        if i - last >= gather:
            last, steps = i, steps + 1
    return steps


def bccd() -> list[str]:
    found = runs("yolov8n-bccd")
    first = next(iter(found.values()))[0]
    lines = [
        f"{first['epochs']} epochs at {first['imgsz']} pixels, "
        f"{yolo_steps(first)} optimizer steps.",
        "",
        "| operator | parameters | GFLOPs at 640 | seeds | mAP50 | mAP | mAP against conv |",
        "|---|---|---|---|---|---|---|",
    ]
    for operator, group in found.items():
        run = group[0]
        lines.append(
            f"| {operator} | {run['parameters']:,} | {run['gflops_640']:.2f} | {len(group)} "
            f"| {spread(r['map50'] for r in group)} | {spread(r['map'] for r in group)} "
            f"| {against(found, operator, 'map')} |"
        )
    return lines


def compared(name: str, size: str, score: str) -> list[str]:
    """A file of ``rfaconv compare`` with one recipe: each operator beside the convolution."""
    ((_, found),) = load(name)["recipes"].items()
    differences = {d["operator"]: d for d in found["differences"] if d["baseline"] == "conv"}
    first = found["operators"]["conv"]
    lines = [
        f"{first['epochs']} epochs at {size} pixels, {first['steps']:,} optimizer steps.",
        "",
        f"| operator | parameters | seeds | {score} | {score} less conv's, 95% | |",
        "|---|---|---|---|---|---|",
    ]
    for operator, row in found["operators"].items():
        less, verdict = "", ""
        if operator in differences:
            difference = differences[operator]
            mean, half = 100 * difference["mean"], 100 * difference["half_width"]
            less, verdict = f"{mean:+.1f} ± {half:.1f}", difference["verdict"]
        lines.append(
            f"| {operator} | {row['parameters']:,} | {len(row['scores'])} "
            f"| {spread(row['scores'])} | {less} | {verdict} |"
        )
    return lines


def costs() -> list[str]:
    found = load("yolov8n-costs")["rows"]
    plain = found[0]["parameters"]
    lines = [
        "| operator | parameters | added | published | GFLOPs | published |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        millions, gflops = row["published_millions"], row["published_gflops"]
        added = row["parameters"] - plain
        lines.append(
            f"| {row['operator']} | {row['parameters']:,} | {f'{added:,}' if added else ''} "
            f"| {f'{millions} M' if millions else ''} | {row['gflops_640']:.2f} | {gflops or ''} |"
        )
    return lines


def fcos() -> list[str]:
    found = runs("fcos-bccd")
    first = next(iter(found.values()))[0]
    pictures, batch = first["data"]["train_pictures"], first["recipe"]["batch_size"]
    batches = len(GlobalBatches(pictures, batch, 0))
    lines = [
        f"{first['epochs']} epochs at {first['recipe']['model']['size']} pixels, "
        f"{first['epochs'] * batches} optimizer steps.",
        "",
        "| operator | parameters | seeds | mAP50 | mAP | mAP against conv |",
        "|---|---|---|---|---|---|",
    ]
    for operator, group in found.items():
        lines.append(
            f"| {operator} | {group[0]['parameters']:,} | {len(group)} "
            f"| {spread(r['map_50'] for r in group)} | {spread(r['map'] for r in group)} "
            f"| {against(found, operator, 'map')} |"
        )
    return lines


def warm() -> list[str]:
    lines = [
        "| training | epochs | optimizer steps | seeds | mAP50 | mAP | against conv |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {
        "yolov8n-bccd-8": "{} from scratch",
        "yolov8n-bccd-preserve": "then {} trained on",
    }
    for folder, text in names.items():
        found = runs(folder)
        for operator, group in found.items():
            lines.append(
                f"| {text.format(operator)} | {group[0]['epochs']} "
                f"| {yolo_steps(group[0])} | {len(group)} "
                f"| {spread(r['map50'] for r in group)} | {spread(r['map'] for r in group)} "
                f"| {against(found, operator, 'map')} |"
            )
    return lines


def camvid() -> list[str]:
    lines = [
        "| training | pictures | width | epochs | parameters | seeds | mIoU | against conv |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = {
        "unet-camvid-120x90": "{} from scratch",
        "unet-camvid-120x90-preserve": "conv from scratch, then {} trained on",
        "unet-camvid": "{} from scratch",
    }
    for folder, text in names.items():
        found = runs(folder)
        for operator, group in found.items():
            first = group[0]
            height = first.get("height", 180)
            lines.append(
                f"| {text.format(operator)} | {height * 4 // 3}×{height} | {first.get('width', 1)} "
                f"| {first['epochs']} | {first['parameters']:,} | {len(group)} "
                f"| {spread(r['miou'] for r in group)} | {against(found, operator, 'miou')} |"
            )
    return lines


def inference() -> list[str]:
    names = ("yolov8n-inference-640-2threads", "yolov8n-inference-640")
    two, one = map(load, names)
    lines = [
        "| operator | two threads, ms | of conv | one thread, ms | of conv |",
        "|---|---|---|---|---|",
    ]
    for operator in COMPARABLE:
        cells = [
            f"{1e3 * found['median_seconds'][operator]:.1f} | {found['ratio'][operator]:.2f}"
            for found in (two, one)
        ]
        lines.append(f"| {operator} | {' | '.join(cells)} |")
    return lines


def lifecycle() -> list[str]:
    found = load("yolo-lifecycle")["runs"]
    lines = [
        "| network | epochs | optimizer steps | mAP50 | norms left | fuse() | ONNX | OpenVINO |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in found:
        errors = " | ".join(f"{run[step]['largest']:.1e}" for step in ("fuse", "onnx", "openvino"))
        cells = [
            f"{run['network']}-{run['operator']}", run["epochs_trained"],
            yolo_steps(run, run["interrupted_after_epoch"]), f"{100 * run['map50']:.1f}",
            run["batch_norms_after_fuse"], errors,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def exports() -> list[str]:
    """Worst error over the operators of every network and format, and every failure's reason."""
    rows = load("yolo-export")["rows"]
    formats, networks, reasons = [], [], defaultdict(list)
    cells = defaultdict(list)
    for row in rows:
        formats += [row["format"]] * (row["format"] not in formats)
        networks += [row["network"]] * (row["network"] not in networks)
        cells[row["format"], row["network"]].append(row)
    order = ("onnx", "onnx-dynamic", "openvino", "torchscript", "ncnn", "mnn", "litert")
    formats.sort(key=lambda kind: (order.index(kind) if kind in order else len(order), kind))
    networks.sort(key=("yolov5n", "yolov8n", "yolo11n", "yolo26n").index)
    lines = [f"| format | {' | '.join(networks)} | with |", "|---" * (len(networks) + 2) + "|"]
    for kind in formats:
        texts, used = [], {}
        for network in networks:
            group = cells[kind, network]
            held = [row["largest"] for row in group if row["holds"]]
            texts.append(f"{max(held):.1e}" if held else "" if group else "not run")
            if held and len(group) < 6:
                texts[-1] += f" ({len(group)} of 6 tried)"
            failed = [row for row in group if not row["holds"]]
            if failed:
                texts[-1] += f", {len(failed)} fail" if held else "fails"
            for row in failed:
                larger = f"differs by {row.get('largest', 0):.1e}"
                reasons[kind, row.get("reason", larger)].append(f"{network}-{row['operator']}")
            for row in group:
                used |= {k: v for k, v in row["versions"].items() if k != "ultralytics"}
        with_what = ", ".join(f"{name} {number}" for name, number in used.items())
        lines.append(f"| `{kind}` | {' | '.join(texts)} | {with_what} |")
    if reasons:
        lines.append("")
    for (kind, reason), names in reasons.items():
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines.append(f"* `{kind}`, {shown}: {reason}")
    return lines


TABLES = {
    "bccd": bccd,
    "bccd-long": partial(compared, "bccd-yolo", "160", "mAP"),
    "camvid": camvid,
    "costs": costs,
    "exports": exports,
    "fcos": fcos,
    "inference": inference,
    "lifecycle": lifecycle,
    "warm": warm,
}


if __name__ == "__main__":
    fill(("docs/detection.md", "docs/segmentation.md"), TABLES)
