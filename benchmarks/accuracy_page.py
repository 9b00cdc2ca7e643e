"""Writes docs/results.md and its plot from the JSON files of benchmarks/accuracy.py.

python benchmarks/accuracy_page.py
"""

# ruff: noqa: E501  # the text of a page, whose lines are longer

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from rfaconv.compare.stats import mean_and_std, paired_difference

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/accuracy", ROOT / "docs/results.md"
Runs = dict[tuple[str, str], dict[str, dict[int, Any]]]
TITLES = {
    "operators": "Operators in place of the first convolution of every block",
    "warm-start": "Warm start at equal cost: 3 plain epochs, then converted (4) or not (6)",
    "ablations": "Ablations",
}
OPENING = """# Accuracy of the operators on real images

Made by `benchmarks/accuracy_page.py` from the files under `benchmarks/results/accuracy/`, which
`python benchmarks/accuracy.py --root DATA` writes, one for each training with its recipe, commit and machine.

The network is the small timm ResNet of `rfaconv compare` (four BasicBlocks, 16 to 48 channels), trained on a CPU: EuroSAT
(RGB, a subset of 5,000 images to train and 2,000 to test, 64 pixels) for 6 epochs, Fashion-MNIST (10,000 of its 60,000 training
images, all 10,000 test images) for 3. **These schedules are short: the networks have not converged**, and operators that learn faster gain by it.
Accuracy is that on the test images after the last epoch; no other choice was made on them. Differences are paired
over seeds with a 95% interval of Student's t; with a single seed nothing is said about noise.
CPU seconds are those of one thread, validation included, on a machine that others used too.
"""
CLOSING = """
## What was not reproduced

ImageNet-1k, and with it every accuracy that the paper gives for classification: no such run was made. For who has the data,
`rfaconv train imagenet-resnet18 data.name=folder:IMAGENET --accelerator gpu --devices 8` has the published settings (100 epochs,
SGD 0.1 with steps at 30, 60 and 90, batch 128 in all); its cost was not measured on a GPU. CIFAR and longer schedules were not run either.
"""


def main() -> None:
    runs: Runs = defaultdict(lambda: defaultdict(dict))
    for path in sorted(RESULTS.glob("*.json")):
        value = json.loads(path.read_text())
        run = value["run"]
        runs[run["table"], run["data"]][run["case"]][run["seed"]] = value
    parts = [OPENING]
    for (table, data), cases in sorted(
        runs.items(), key=lambda i: (list(TITLES).index(i[0][0]), i[0])
    ):
        extra = {}
        if table != "operators":
            extra = {name: runs["operators", data][name] for name in ("conv", "rfa")}
        parts.append(f"\n## {TITLES[table]}: {data}\n\n" + rows({**extra, **cases}))
    parts.append("\n![Accuracy](images/accuracy.png)\n" + CLOSING)
    PAGE.write_text("".join(parts))
    plot(runs)


def rows(cases: dict[str, dict[int, Any]]) -> str:
    lines = ["| | seeds | top-1 % | std | against conv | verdict | parameters | CPU s |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    plain = cases["conv"]
    for name, seeds in cases.items():
        values = [v["result"]["top1"] for v in seeds.values()]
        mean, std = mean_and_std(values)
        both = sorted(set(seeds) & set(plain))
        images = next(iter(seeds.values()))["result"]["images"]
        difference, verdict = "", ""
        if name != "conv" and both:
            pair = paired_difference(
                [seeds[s]["result"]["top1"] for s in both],
                [plain[s]["result"]["top1"] for s in both],
                1 / images,
            )
            half = "" if pair.half_width is None else f" ± {100 * pair.half_width:.2f}"
            difference, verdict = f"{100 * pair.mean:+.2f}{half}", pair.verdict
        seconds, _ = mean_and_std([v["measured"]["cpu_seconds"] for v in seeds.values()])
        lines.append(
            f"| {name} | {len(values)} | {100 * mean:.2f} | "
            f"{'' if std is None else f'{100 * std:.2f}'} | {difference} | {verdict} | "
            f"{next(iter(seeds.values()))['result']['parameters']:,} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(runs: Runs) -> None:
    from matplotlib.figure import Figure

    tables = [key for key in runs if key[0] == "operators"]
    figure = Figure(figsize=(5 * len(tables), 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        for name, seeds in runs[key].items():
            for value in seeds.values():
                x, y = value["measured"]["cpu_seconds"], 100 * value["result"]["top1"]
                axes.plot(x, y, "o")
                axes.annotate(name, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8)
        axes.set(title=key[1], xlabel="CPU seconds of the training", ylabel="top-1 %")
    (PAGE.parent / "images").mkdir(exist_ok=True)
    figure.savefig(PAGE.parent / "images/accuracy.png", dpi=120)


if __name__ == "__main__":
    main()
