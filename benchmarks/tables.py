"""Writes the tables of docs/detection.md and docs/segmentation.md from the committed results.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rfaconv.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ORDER = ("conv", "cam", "cbam", "ca", "rfa", "rfcbam", "rfca")


def runs(folder: str) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for path in sorted((RESULTS / folder).glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found[run["operator"]].append(run)
    return {operator: found[operator] for operator in ORDER if operator in found}


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


def steps(run) -> str:
    """What a training says of its steps; those before it was recorded say nothing."""
    return f", {run['optimizer_steps']} optimizer steps" if "optimizer_steps" in run else ""


def bccd() -> list[str]:
    found = runs("yolov8n-bccd")
    first = next(iter(found.values()))[0]
    lines = [
        f"{first['epochs']} epochs at {first['imgsz']} pixels{steps(first)}.",
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


def costs() -> list[str]:
    found = json.loads((RESULTS / "yolov8n-costs.json").read_text(encoding="utf-8"))["rows"]
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
    lines = [
        f"{first['epochs']} epochs at {first['recipe']['model']['size']} pixels.",
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
        "| training | epochs | seeds | mAP50 | mAP | against conv |",
        "|---|---|---|---|---|---|",
    ]
    names = {
        "yolov8n-bccd-8": "{} from scratch",
        "yolov8n-bccd-preserve": "then {} trained on",
    }
    for folder, text in names.items():
        found = runs(folder)
        for operator, group in found.items():
            lines.append(
                f"| {text.format(operator)} | {group[0]['epochs']} | {len(group)} "
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
    two, one = (
        json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names
    )
    lines = [
        "| operator | two threads, ms | of conv | one thread, ms | of conv |",
        "|---|---|---|---|---|",
    ]
    for operator in ORDER:
        cells = [
            f"{1e3 * found['median_seconds'][operator]:.1f} | {found['ratio'][operator]:.2f}"
            for found in (two, one)
        ]
        lines.append(f"| {operator} | {' | '.join(cells)} |")
    return lines


def lifecycle() -> list[str]:
    found = json.loads((RESULTS / "yolo-lifecycle.json").read_text(encoding="utf-8"))["runs"]
    lines = [
        "| network | epochs | mAP50 | norms left | fuse() | ONNX | OpenVINO |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in found:
        errors = " | ".join(f"{run[step]['largest']:.1e}" for step in ("fuse", "onnx", "openvino"))
        lines.append(
            f"| {run['network']}-{run['operator']} | {run['epochs_trained']} "
            f"| {100 * run['map50']:.1f} | {run['batch_norms_after_fuse']} | {errors} |"
        )
    return lines


TABLES = {
    "bccd": bccd,
    "camvid": camvid,
    "costs": costs,
    "fcos": fcos,
    "inference": inference,
    "lifecycle": lifecycle,
    "warm": warm,
}


def filled(text: str) -> str:
    """The page with every table between its marks made anew."""

    def fill(match: re.Match[str]) -> str:
        rows = "\n".join(TABLES[match["name"]]())
        return f"<!-- table {match['name']} -->\n{rows}\n<!-- end -->"

    pattern = r"<!-- table (?P<name>\w+) -->\n.*?<!-- end -->"
    return re.sub(pattern, fill, text, flags=re.DOTALL)


def main() -> None:
    for page in ("detection", "segmentation"):
        path = ROOT / "docs" / f"{page}.md"
        write_atomic(path, filled(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
