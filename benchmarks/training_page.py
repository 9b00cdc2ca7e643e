"""Writes the measured parts of docs/training.md from the JSON files under benchmarks/results.

python benchmarks/training_page.py
"""

# ruff: noqa: E501  # the text of a page, whose lines are longer

from __future__ import annotations

from statistics import median
from typing import Any

from pages import Tables, fill, load, table

MOST = 1.5
"""What an epoch of RFA may cost, in epochs of the convolution."""
IMAGES, IMAGE_KB = 1_281_167, 110
BATCH, RATE, PUBLISHED_BATCH = 128, 0.1, 128
PLANS = ((1, 1, 128), (1, 8, 128), (1, 8, 1024), (8, 8, 4096))
"""Machines, GPUs in each, global batch."""


def operators() -> list[str]:
    cases = load("throughput-operators")["cases"]
    costs = {name: case["time_relative_to_first"] for name, case in cases.items()}
    assert costs["rfa"] <= MOST, costs
    rows = [(name, f"{rate(case):.0f}", f"{costs[name]:.2f}") for name, case in cases.items()]
    return table(("", "images/s", "cost of an epoch"), rows)


def processes() -> list[str]:
    cases = load("throughput-processes")["cases"]
    first = rate(next(iter(cases.values())))
    rows = []
    for name, case in cases.items():
        gain = rate(case) / first
        share = "" if gain == 1 else f"{gain / 2:.0%}"
        rows.append((name, f"{rate(case):.0f}", f"{gain:.2f}", share))
    return table(("", "images/s", "against one thread", "of a perfect 2"), rows)


def rate(case: Any) -> float:
    return median(case["images_per_second"])


def waiting() -> list[str]:
    cases = load("data-wait")["cases"]
    alone, beside = cases["0 workers"], cases["1 workers"]
    decoded = alone["images_per_second"] / alone["data_wait"]
    text = (
        f"ResNet-18 with RFA at 224 pixels on one thread, JPEGs of 500 × 375: {beside['data_wait']:.1%} of a step waits for images "
        f"with one process that decodes, {alone['data_wait']:.1%} without (`benchmarks/data_wait.py`). So one process decodes and crops about "
        f"{round(decoded, -1):.0f} images/s; a GPU that trains r images/s needs r over that many cores for it, as `data.workers`. "
        "Every run prints its share, which is also `data_wait` in `result.json`."
    )
    return [text]


def plan() -> list[str]:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    parameters = sum(p.numel() for p in timm.create_model("rfa_resnet18").parameters())
    size = 4 * parameters
    rows = []
    for nodes, each, batch in PLANS:
        gpus = nodes * each
        lr = RATE * batch / PUBLISHED_BATCH
        steps = IMAGES // batch
        moved = 2 * (gpus - 1) / gpus * size
        warm = "5 epochs" if batch > PUBLISHED_BATCH else "none"
        across = f"{moved / 1e6:.0f} MB" if nodes > 1 else "none"
        rows.append((
            f"{nodes} × {each}", f"{batch:,}", batch // gpus, f"{lr:g}, {warm}", f"{steps:,}",
            f"{moved / 1e6:.0f} MB", across, f"{moved * steps / 1e9:.0f} GB",
        ))  # fmt: skip
    data = IMAGES * IMAGE_KB / 1e6
    heads = ("machines × GPUs", "batch", "images a GPU and step", "learning rate, warm-up",
             "steps an epoch", "all-reduce a GPU and step", "between two machines",
             "an epoch, all-reduce a GPU")  # fmt: skip
    gradients = f"""`rfa_resnet18` has {parameters:,} parameters, {size / 1e6:.1f} MB of float32 gradients. A ring all-reduce over n processes sends
2 · (n − 1) / n of them through each, in buckets while the backward pass still runs; on several machines the ring crosses
each link between two of them once, with the same bytes."""
    reading = f"""Data: {IMAGES:,} images of about {IMAGE_KB} kB, {data:.0f} GB, read once an epoch. One machine reads all of it, each of eight an eighth
({data / 8:.0f} GB)."""
    return [gradients, "", *table(heads, rows), "", reading]


TABLES: Tables = {
    "operators": operators,
    "processes": processes,
    "waiting": waiting,
    "plan": plan,
}


if __name__ == "__main__":
    fill(["docs/training.md"], TABLES)
