"""Writes docs/results.md and its plot from the JSON files of benchmarks/results/accuracy.

python benchmarks/accuracy_page.py
"""

# ruff: noqa: E501  # the text of a page, whose lines are longer

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import torch
from accuracy_costs import cost
from pages import RESULTS, ROOT, load, table
from tables import runs as trained

from rfaconv.lab.networks.classifiers import COMPARABLE
from rfaconv.lab.results import SMALLEST
from rfaconv.lab.statistics import Difference, mean_and_std, paired_difference
from rfaconv.models.published import published

PAGE = ROOT / "docs/results.md"
IMAGENET = 1.28e6
Cases = dict[str, dict[int, Any]]
Runs = dict[tuple[str, str], Cases]
Scores = dict[str, dict[int, float]]
TITLES = {
    "operators": "Operators in place of the first convolution of every block",
    "warm-start": "Warm start at equal cost: 3 plain epochs, then converted (4 epochs) or not (6)",
    "ablations": "Ablations",
}
NAMES = {"eurosat": "EuroSAT", "fashion-mnist": "Fashion-MNIST"}
# a detector and a segmenter: files of the short trainings, their score, file of the long ones if
# there is one
DENSE = (
    ("YOLOv8n on blood cells", "yolov8n-bccd", "map", "bccd-yolo"),
    ("Unet on streets", "unet-camvid-120x90", "miou", None),
)
# what is compared with what, and the sentence of the paper or the question it answers
CLAIMS = (
    ("In place of a convolution they gain", (("rfa", "conv"), ("rfcbam", "conv"), ("rfca", "conv"))),
    ("RFA beats CBAM and CA", (("rfa", "cbam"), ("rfa", "ca"))),
    ("RFCBAM and RFCA beat CBAM and CA", (("rfcbam", "cbam"), ("rfcbam", "ca"), ("rfca", "cbam"), ("rfca", "ca"))),
    ("RFCBAM and RFCA are better than RFA", (("rfcbam", "rfa"), ("rfca", "rfa"))),
    ("Kernel size 5 gains more than 3", (("rfa-k5", "rfa"), ("conv-k5", "conv"))),
    ("Features by group convolution beat Unfold", (("rfa", "unfold"),)),
    ("What the gate itself brings", (("rfa", "features"), ("features", "conv"))),
)  # fmt: skip
OPENING = """# Accuracy of the operators on real images

Made by `benchmarks/accuracy_page.py` from the files under `benchmarks/results/accuracy/`, one for each training with its recipe, commit and machine.
`rfaconv compare benchmarks/studies/eurosat.yaml data.root=DATA` trains the same grid anew, `eurosat-kernels.yaml` and `fashion-mnist.yaml` the others.

The network is the small timm ResNet of `rfaconv compare` (four BasicBlocks, 16 to 48 channels), trained on a CPU: EuroSAT
(RGB, a subset of 5,000 images to train and 2,000 to test, 64 pixels) for 6 epochs, Fashion-MNIST (10,000 of its 60,000 training
images, all 10,000 test images) for 3. **These schedules are short: the networks have not converged**, and operators that learn faster gain by it.
Accuracy is that on the test images after the last epoch; no other choice was made on them. Differences are paired
over three seeds with a 95% interval of Student's t, one comparison at a time: with so many of them a few intervals miss by chance.
Three seeds make wide intervals; "within noise" is no proof of equality.
CPU seconds are those of one thread, validation included, on a machine that others used too (AMD EPYC).
MACs are multiply-adds for one image; memory is the peak of tensors alive in a training step with 64 images, without buffers inside kernels.
"""
CLOSING = """
## What was not reproduced

ImageNet-1k, and with it every accuracy that the paper gives for classification: no such run was made. For who has the data,
the recipes have the published settings (100 epochs, SGD 0.1 with steps at 30, 60 and 90, batch 128 in all, 224-pixel crops; evaluation
resized to 224 as published and to 256 as usual):

```sh
for operator in conv cam cbam ca rfa rfcbam rfca; do
  for network in resnet18 resnet34; do
    rfaconv train imagenet-$network data.name=folder:IMAGENET model.operator=$operator \\
      --accelerator gpu --devices 8 --strategy ddp --out runs/$network-$operator
    rfaconv eval runs/$network-$operator
  done
done
```

Expected cost of one of these trainings, computed, not run: multiply-adds of the forward pass × 2 × 3 (forward and backward) × 1.28 million images × 100 epochs.
A GPU that sustains 10 TFLOP/s, an assumption to replace by your own, needs the hours of the last column; decoding may cost more than that.

{costs}

On a CPU it is out of reach: the measured training step of `rfa_resnet18` (batch 8, {step:.0f} ms on one thread, `benchmarks/results/cpu-networks-training-batch8-1thread.json`)
makes {days:.0f} days on one thread. [training.md](training.md) has the plan for eight GPUs and for eight machines. CIFAR was not run either.
"""


def main() -> None:
    runs: Runs = defaultdict(lambda: defaultdict(dict))
    for path in sorted(RESULTS.glob("accuracy/*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        run = value["run"]
        runs[run["table"], run["data"]][run["case"]][run["seed"]] = value
    for (kind, data), cases in runs.items():
        if kind != "operators":
            for name in ("conv", "rfa"):
                cases[name] = runs["operators", data][name]
    parts = [OPENING]
    for kind in TITLES:
        for data in NAMES:
            if (kind, data) in runs:
                title = f"\n## {TITLES[kind]}: {NAMES[data]}\n\n"
                parts.append(title + rows(runs[kind, data], data))
    parts.append(
        "\n![Accuracy and cost](images/accuracy.png)\n\n![Paired differences](images/accuracy-differences.png)\n"
    )
    parts += [claims(runs), warm(runs), equal_accuracy(runs)]
    parts.append(longer(runs))
    parts.append(closing())
    PAGE.write_text("".join(parts), encoding="utf-8")
    plot(runs)
    plot_differences(runs)


def closing() -> str:
    rows = []
    names = [f"{operator}{network}" for network in ("resnet18", "resnet34") for operator in ("", "rfa_", "rfcbam_", "rfca_")]  # fmt: skip
    for name in names:
        parameters, macs, _ = cost("conv", "eurosat", None, name)
        operations = 2 * 3 * macs * IMAGENET * 100
        shown = f"{operations:.1e}".replace("e+", " · 10^")
        rows.append((name, f"{parameters:,}", f"{macs / 1e9:.2f} G", shown, f"{operations / 1e13 / 3600:.0f}"))  # fmt: skip
    found = load("cpu-networks-training-batch8-1thread")
    step = next(r["ms"]["median"] for r in found["rows"] if r["side"] == "fused")
    days = step / 1e3 / 8 * IMAGENET * 100 / 86400
    heads = ("network", "parameters", "multiply-adds of an image", "operations of the training", "hours at 10 TFLOP/s")  # fmt: skip
    return CLOSING.format(costs="\n".join(table(heads, rows)), step=step, days=days)


def longer(runs: Runs) -> str:
    """The published networks, which were trained for longer, beside the short schedule."""
    listed = {one.name: one for one in published()}
    short = {n: mean_and_std([v["result"]["top1"] for v in runs["operators", "eurosat"][n].values()])[0] for n in ("conv", "rfa")}  # fmt: skip
    rows = [
        (name, f"{100 * before:.2f}", f"{100 * one.top1:.2f}", f"`{one.command}`")
        for name, before in short.items()
        for one in [listed[f"eurosat-{name}"]]
    ]
    heads = ("", "top-1 %, 6 epochs (mean of three seeds)", "top-1 %, 30 epochs", "made by")
    gap, before = listed["eurosat-rfa"].top1 - listed["eurosat-conv"].top1, short["rfa"] - short["conv"]  # fmt: skip
    said = f"RFA minus convolution: {100 * gap:+.2f} points after 30 epochs, {100 * before:+.2f} after 6."
    if gap < 0.75 * before:
        said += " What the short schedule shows is to a good part how fast the networks learn."
    lines = ["\n## Five times the epochs\n",
             "The networks in `weights/` (one seed each, so no interval; EuroSAT, 30 epochs in place of 6, same network and test images):\n",
             *table(heads, rows), f"\n{said}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def difference(cases: Cases, one: str, other: str) -> Difference:
    seeds = sorted(set(cases[one]) & set(cases[other]))
    images = cases[one][seeds[0]]["result"]["images"]
    values = [[cases[n][s]["result"]["top1"] for s in seeds] for n in (one, other)]
    return paired_difference(values[0], values[1], 1 / images)


def text(found: Difference) -> str:
    half = "" if found.half_width is None else f" ± {100 * found.half_width:.2f}"
    return f"{100 * found.mean:+.2f}{half}"


def seconds(cases: Cases, name: str) -> float:
    return mean_and_std([v["measured"]["cpu_seconds"] for v in cases[name].values()])[0]


def rows(cases: Cases, data: str) -> str:
    lines = []
    for name in sorted(cases, key=[*COMPARABLE, *cases].index):
        values = [v["result"]["top1"] for v in cases[name].values()]
        mean, std = mean_and_std(values)
        shown, verdict = "", ""
        if name != "conv":
            found = difference(cases, name, "conv")
            shown, verdict = text(found), found.verdict
        run = next(iter(cases[name].values()))
        parameters, macs, peak = cost(run["run"]["operator"], data, run["run"]["kernel_size"])
        assert parameters == run["result"]["parameters"] or name == "preserve"
        lines.append((
            name, len(values), f"{100 * mean:.2f}", "" if std is None else f"{100 * std:.2f}",
            shown, verdict, f"{run['result']['parameters']:,}", f"{macs / 1e6:.2f}",
            f"{peak / 2**20:.0f}", f"{seconds(cases, name):.0f}",
        ))  # fmt: skip
    heads = ("", "seeds", "top-1 %", "std", "against conv", "verdict", "parameters", "MACs (M)",
             "memory (MiB)", "CPU s")  # fmt: skip
    return "\n".join(table(heads, lines)) + "\n"


def claims(runs: Runs) -> str:
    eurosat, fashion = (classified(runs, data) for data in NAMES)
    long = grid("eurosat-converged-evidence", "top1")
    images = load("eurosat-converged-evidence")["runs"][0]["images"]
    classifiers = {
        "EuroSAT, 6 epochs": (eurosat, 1 / images),
        "EuroSAT, 30 epochs": (long, 1 / images),
        "Fashion-MNIST, 3 epochs": (fashion, 1 / 10_000),
    }
    others: dict[str, tuple[Scores, float]] = {}
    for name, short, key, converged in DENSE:
        found = trained(short)
        scores = {o: {run["seed"]: run[key] for run in group} for o, group in found.items()}
        others[f"{name}, {found['conv'][0]['epochs']} epochs"] = (scores, SMALLEST)
        if converged is None:
            continue
        ((_, recipe),) = load(converged)["recipes"].items()
        count = recipe["operators"]["conv"]["epochs"]
        others[f"{name}, {count} epochs"] = (grid(converged), SMALLEST)
    cases = runs["ablations", "eurosat"]
    ratio = seconds(cases, "unfold") / seconds(cases, "rfa")
    gate = paired(eurosat, "rfa", "features", 1 / images)
    after = paired(long, "rfa", "features", 1 / images)
    assert gate is not None
    assert after is not None
    said = (
        f"\nUnfold, as the paper's slow alternative, took {ratio:.1f} times the CPU time of the group convolution (with this project's kernels for the latter). "
        f"**The gate itself is not what helps on EuroSAT**: without it, features alone reach the same (RFA minus features {text(gate)}), "
        f"and so it is after the long schedule: {text(after)} ({after.verdict}). "
        "What helps there is the receptive-field feature, a second learned and normalised step before the projection."
    )
    lines = ["\n## The paper's claims, one by one\n",
             "First minus second, percentage points of top-1, with the 95% interval over three seeds. After 30 epochs the accuracy hardly moves any more: "
             "[Converged](how/evidence.md).\n",
             *claim_table(classifiers), said,
             "\nThe same of a detector (mAP) and a segmenter (mIoU), after few epochs and, for the detector, after many:\n",
             *claim_table(others)]  # fmt: skip
    return "\n".join(lines) + "\n"


def claim_table(settings: dict[str, tuple[Scores, float]]) -> list[str]:
    """The claims that at least one of these trainings can test."""
    rows = []
    for claim, pairs in CLAIMS:
        for one, other in pairs:
            found = [paired(scores, one, other, step) for scores, step in settings.values()]
            if any(found):
                cells = ["not run" if f is None else f"{text(f)} ({f.verdict})" for f in found]
                rows.append((claim, f"{one} − {other}", *cells))
                claim = ""
    return table(("claim", "compared", *settings), rows)


def paired(scores: Scores, one: str, other: str, resolution: float) -> Difference | None:
    """The difference over at least three seeds."""
    seeds = sorted(set(scores.get(one, {})) & set(scores.get(other, {})))
    if len(seeds) < 3:
        return None
    return paired_difference(*([scores[n][s] for s in seeds] for n in (one, other)), resolution)


def classified(runs: Runs, data: str) -> Scores:
    """Top-1 of the short schedules."""
    return {
        name.removesuffix("-only"): {s: v["result"]["top1"] for s, v in seeds.items()}
        for kind in ("operators", "ablations")
        for name, seeds in runs.get((kind, data), {}).items()
    }


def grid(name: str, key: str | None = None) -> Scores:
    """Of a file of ``rfaconv compare`` or ``benchmarks/evidence.py``."""
    found: Scores = defaultdict(dict)
    for run in load(name)["runs"]:
        found[run["operator"]][run["seed"]] = run[key or run["score_name"]]
    return found


def warm(runs: Runs) -> str:
    cases = runs["warm-start", "eurosat"]
    pairs = [("preserve", "unconverted"), ("preserve", "rfa"), ("unconverted", "rfa")]
    shown = "; ".join(f"{a} − {b} {text(difference(cases, a, b))}" for a, b in pairs)
    costs = ", ".join(f"{n} {seconds(cases, n):.0f}" for n in ("preserve", "unconverted", "rfa"))
    return f"""
## Warm start

At about equal cost (CPU seconds: {costs}) on EuroSAT: {shown} (rfa is the operator trained from scratch for 6 epochs).
**Converting a network after three epochs lost to both alternatives here**: the short fine-tuning left the converted network behind
further plain training, and training the operator from the start is far ahead. Conversion keeps a network's outputs; it does not
by itself make a short fine-tuning pay. A long pretraining, for which it is meant, was not tried.
"""


def equal_accuracy(runs: Runs) -> str:
    base, rows = cost("conv", "eurosat", None)[2], []
    for name in COMPARABLE:
        cells = [reached(runs["operators", data], name) for data in NAMES]
        rows.append((name, *cells, f"{cost(name, 'eurosat', None)[2] / base:.2f}"))
    lines = ["\n## Cost at equal accuracy\n",
             "CPU seconds until the validation curve first reaches the mean final accuracy of the plain convolution: epochs times the seconds of one, mean over the seeds that got there. "
             "The learning rate falls only near the end of the schedule, so early epochs are worse than a schedule of that length would be.\n",
             *table(("", *NAMES.values(), "memory of a step against conv (EuroSAT)"), rows)]  # fmt: skip
    return "\n".join(lines) + "\n"


def reached(cases: Cases, name: str) -> str:
    target, _ = mean_and_std([v["result"]["top1"] for v in cases["conv"].values()])
    times = []
    for value in cases[name].values():
        curve = [record["val_top1"] for record in value["result"]["curve"]]
        first = next((i + 1 for i, top1 in enumerate(curve) if top1 >= target), None)
        if first is not None:
            times.append(first * value["measured"]["cpu_seconds"] / len(curve))
    found = f"{mean_and_std(times)[0]:.0f}" if times else "not reached"
    return f"{found} ({len(times)} of {len(cases[name])})"


def plot(runs: Runs) -> None:
    from matplotlib.figure import Figure

    tables = [("operators", data) for data in NAMES]
    figure = Figure(figsize=(5 * len(tables), 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        for name in COMPARABLE:
            values = [100 * v["result"]["top1"] for v in runs[key][name].values()]
            mean, std = mean_and_std(values)
            x = seconds(runs[key], name)
            axes.errorbar(x, mean, yerr=std or 0, fmt="o", capsize=3)
            axes.annotate(name, (x, mean), xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.set(title=NAMES[key[1]], xlabel="CPU seconds of the training", ylabel="top-1 % (mean, std of 3 seeds)")  # fmt: skip
    (PAGE.parent / "images").mkdir(exist_ok=True)
    figure.savefig(PAGE.parent / "images/accuracy.png", dpi=120)


def plot_differences(runs: Runs) -> None:
    """Every case less the convolution, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(NAMES)), NAMES, strict=True):
        found = {}
        for (_, of), cases in runs.items():
            if of == data:
                found |= {n: difference(cases, n, "conv") for n in cases if n != "conv"}
        for y, (_, one) in enumerate(found.items()):
            half = 100 * (one.half_width or 0)
            axes.errorbar(100 * one.mean, y, xerr=half, fmt="o", capsize=3, color="C0")
        axes.axvline(0, color="gray", linewidth=1)
        axes.set_yticks(range(len(found)), found)
        axes.set(
            title=NAMES[data], xlabel="top-1 less that of conv, points (95% of 3 paired seeds)"
        )
    figure.savefig(PAGE.parent / "images/accuracy-differences.png", dpi=120)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
