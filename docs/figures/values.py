"""Figures in the text: ``<!-- v NAME -->…<!-- /v -->`` holds what the committed results give."""

from __future__ import annotations

import re
from pathlib import Path

from docs.figures import evidence, results
from docs.figures.method import FOUND
from docs.figures.results import Difference

MARK = re.compile(r"<!-- v (?P<name>[\w.-]+) -->.*?<!-- /v -->")
PAGES = ("README.md", "README.zh-CN.md", "docs/index.md", "docs/index.zh.md")
FOLDERS = ("docs/learn", "docs/how")


def shown(one: Difference) -> str:
    """Mean and half interval, in points."""
    half = "" if one.half is None else f" ± {one.half:.2f}"
    return f"{one.mean:+.2f}{half}".replace("-", "−")


def values() -> dict[str, str]:
    """Every figure that a page may name."""
    found: dict[str, str] = {}
    groups = {
        "eurosat": results.classification("eurosat"),
        "fashion-mnist": results.classification("fashion-mnist"),
        "bccd": results.task("yolov8n-bccd", "map"),
        "bccd.long": results.compared("bccd-yolo"),
        "fcos": results.task("fcos-bccd", "map"),
        "camvid": results.task("unet-camvid-120x90", "miou"),
    }
    for group, (differences, epochs) in groups.items():
        found[f"{group}.epochs"] = str(epochs)
        found |= {f"{group}.{name}": shown(one) for name, one in differences.items()}
    found["sharing"] = f"{FOUND['sharing']:.2f}"
    found["gate"] = shown(results.ablation("rfa", "features-only"))
    found["features"] = shown(results.ablation("features-only", "conv"))
    found["unfold"] = shown(results.ablation("rfa", "unfold"))
    long = evidence.grid()
    if long is not None:
        found["long.epochs"] = str(long["settings"][f"recipes.{long['recipe']}.epochs"])
        found |= {f"long.{k}": shown(one) for k, one in evidence.compared(long, "top1").items()}
        tables = (
            ("gate", "attention"),
            ("frozen", "constant"),
            ("time", "long"),
            ("width", "wide"),
        )
        for name, table in tables:
            compared = evidence.compared(long, table)
            found |= {f"long.{name}.{operator}": shown(one) for operator, one in compared.items()}
    one = "cpu-rfa-inference-batch8-1thread"
    found["published"] = f"{results.layers(one, 'rfa', 'published', 'inference'):.1f}"
    for operator in ("rfa", "rfcbam", "rfca"):
        for mode in ("inference", "training"):
            ratio = results.layers("cpu-networks-batch8-2threads", operator, "fused", mode)
            found[f"network.{mode}.{operator}"] = f"{ratio:.2f}"
        for mode in ("inference", "training"):
            ratio = results.layers(f"cpu-{mode}-batch8-2threads", operator, "fused", mode)
            found[f"layers.{mode}.{operator}"] = f"{ratio:.2f}"
    return found


def filled(text: str, found: dict[str, str]) -> str:
    """The text with every mark made anew.

    Raises:
        KeyError: a mark names no figure.
    """
    return MARK.sub(lambda m: f"<!-- v {m['name']} -->{found[m['name']]}<!-- /v -->", text)


def pages() -> list[Path]:
    """The pages that may hold marks."""
    root = results.ROOT
    listed = [root / page for page in PAGES]
    return [*listed, *(p for folder in FOLDERS for p in sorted((root / folder).glob("*.md")))]
