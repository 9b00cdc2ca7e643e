"""Writes the measured parts of docs/training.md from the JSON files under benchmarks/results.

python benchmarks/training_page.py
"""

# ruff: noqa: E501  # the text of a page, whose lines are longer

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from rfaconv.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results", ROOT / "docs/training.md"
MOST = 1.5
"""What an epoch of RFA may cost, in epochs of the convolution."""
IMAGES, IMAGE_KB, EPOCHS = 1_281_167, 110, 100
BATCH, RATE, PUBLISHED_BATCH = 128, 0.1, 128
PLANS = ((1, 1, 128), (1, 8, 128), (1, 8, 1024), (8, 8, 4096))
"""Machines, GPUs in each, global batch."""


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def operators() -> str:
    cases = load("throughput-operators")["cases"]
    rows = ["| | images/s | cost of an epoch |", "|---|---|---|"]
    for name, case in cases.items():
        rows.append(f"| {name} | {rate(case):.0f} | {case['time_relative_to_first']:.2f} |")
    cost = cases["rfa"]["time_relative_to_first"]
    assert cost <= MOST, cost
    return "\n".join(rows)


def processes() -> str:
    cases = load("throughput-processes")["cases"]
    first = rate(next(iter(cases.values())))
    rows = ["| | images/s | against one thread | of a perfect 2 |", "|---|---|---|---|"]
    for name, case in cases.items():
        gain = rate(case) / first
        share = "" if gain == 1 else f"{gain / 2:.0%}"
        rows.append(f"| {name} | {rate(case):.0f} | {gain:.2f} | {share} |")
    return "\n".join(rows)


def rate(case: Any) -> float:
    return median(case["images_per_second"])


def waiting() -> str:
    cases = load("data-wait")["cases"]
    alone, beside = cases["0 workers"], cases["1 workers"]
    decoded = alone["images_per_second"] / alone["data_wait"]
    return (
        f"ResNet-18 with RFA at 224 pixels on one thread, JPEGs of 500 × 375 from shards: {beside['data_wait']:.1%} of a step waits for images "
        f"with one process that decodes, {alone['data_wait']:.1%} without (`benchmarks/data_wait.py`). So one process decodes and crops about "
        f"{round(decoded, -1):.0f} images/s; a GPU that trains r images/s needs r over that many cores for it, as `data.workers`. "
        "Every run prints its share, which is also `data_wait` in `result.json`."
    )


def readme() -> str:
    value = load("readme-eurosat")
    stated, result = value["stated"], value["result"]
    return (
        f"`{value['command']}` is stated to reach {100 * stated['mean']:.2f} ± {100 * stated['std']:.2f} % "
        f"(mean and standard deviation of three seeds, [results.md](results.md)); run as it stands it reached "
        f"{100 * result['top1']:.2f} % of {result['images']:,} test images (`benchmarks/results/readme-eurosat.json`, made by "
        "`benchmarks/readme_run.py`, which fails outside two standard deviations)."
    )


def plan() -> str:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    parameters = sum(p.numel() for p in timm.create_model("rfa_resnet18").parameters())
    size = 4 * parameters
    rows = ["| machines × GPUs | batch | images a GPU and step | learning rate, warm-up | steps an epoch | all-reduce a GPU and step | between two machines | an epoch, all-reduce a GPU |",
            "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for nodes, each, batch in PLANS:
        gpus = nodes * each
        lr = RATE * batch / PUBLISHED_BATCH
        steps = IMAGES // batch
        moved = 2 * (gpus - 1) / gpus * size
        warm = "5 epochs" if batch > PUBLISHED_BATCH else "none"
        across = f"{moved / 1e6:.0f} MB" if nodes > 1 else "none"
        rows.append(
            f"| {nodes} × {each} | {batch:,} | {batch // gpus} | {lr:g}, {warm} | {steps:,} | {moved / 1e6:.0f} MB | {across} | {moved * steps / 1e9:.0f} GB |"
        )
    data = IMAGES * IMAGE_KB / 1e6
    text = f"""
`rfa_resnet18` has {parameters:,} parameters, {size / 1e6:.1f} MB of float32 gradients. A ring all-reduce over n processes sends
2 · (n − 1) / n of them through each, in buckets while the backward pass still runs; on several machines the ring crosses
each link between two of them once, with the same bytes.

""" + "\n".join(rows)
    return (
        text
        + f"""

Data: {IMAGES:,} images of about {IMAGE_KB} kB, {data:.0f} GB, read once an epoch. One machine reads all of it, each of eight an eighth
({data / 8:.0f} GB) of its shards; 1,000 images a shard make {-(-IMAGES // 1000):,} shards, and processes times workers should not be more than these.
"""
    )


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    parts = {
        "operators": operators,
        "processes": processes,
        "waiting": waiting,
        "readme": readme,
        "plan": plan,
    }
    for name, made in parts.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        assert found, name
        text = before + begin + made().strip() + end + rest.partition(end)[2]
    write_atomic(PAGE, text)


if __name__ == "__main__":
    main()
