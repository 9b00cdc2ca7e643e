"""The grid of results: recipe x operator x seed, one JSON file per finished training.

    python benchmarks/accuracy.py --root DATA --out benchmarks/results/accuracy

A finished run is a file, written whole or not at all; an interrupted grid goes on with the first
missing one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from rfaconv.data import DataSpec, ImageData, load_data
from rfaconv.files import strict_json, write_atomic
from rfaconv.training.environment import environment, limited_threads
from rfaconv.training.fit import fit
from rfaconv.training.module import Schedule
from rfaconv.training.networks import COMPARABLE, build_network, put_operator_
from rfaconv.training.seeds import derive

SEEDS = (0, 1, 2)
EUROSAT, FASHION = DataSpec("eurosat", part="test"), DataSpec("fashion-mnist", limit=10_000)
SCHEDULES = {"eurosat": Schedule(6), "fashion-mnist": Schedule(3)}
# one epoch of RFA costs what 1.4 of the plain network cost (docs/results.md, time a step):
# 3 plain + 4 RFA = 3 plain + 6 plain (5.6) = 6 RFA from scratch
WARM_PLAIN, WARM_TUNED = 3, {"preserve": 4, "unconverted": 6}
TUNE_LR = 0.05
ABLATIONS = (
    ("features-only", "none", None),
    ("conv-k5", "conv", 5),
    ("rfa-k5", "rfa", 5),
    ("unfold", "unfold", None),
)
FASHION_ORDER = ("conv", "rfa", "rfcbam", "cbam", "rfca", "ca", "cam")


@dataclass(frozen=True)
class Run:
    """One training of the grid."""

    table: str
    data: str
    case: str
    seed: int
    operator: str = "conv"
    kernel_size: int | None = None
    init: str = "fresh"

    @property
    def file(self) -> str:
        """Name of the run's result."""
        return f"{self.table}-{self.data}-{self.case}-seed{self.seed}.json"


def grid() -> list[Run]:
    """Every training, the most telling first: a grid that stops early leaves whole triples."""
    runs = [Run("operators", "eurosat", op, seed, op) for seed in SEEDS for op in COMPARABLE]
    for seed in SEEDS:
        for init in WARM_TUNED:
            operator = "rfa" if init == "preserve" else "conv"
            runs.append(Run("warm-start", "eurosat", init, seed, operator, init=init))
    for case, operator, kernel_size in ABLATIONS:
        runs += [Run("ablations", "eurosat", case, s, operator, kernel_size) for s in SEEDS]
    runs += [Run("operators", "fashion-mnist", op, s, op) for op in FASHION_ORDER for s in SEEDS]
    return runs


def network(run: Run, data: ImageData) -> torch.nn.Module:
    return build_network(
        "small",
        "conv" if run.table == "warm-start" else run.operator,
        classes=len(data.classes),
        channels=data.channels,
        image_size=data.image_size,
        seed=derive(run.seed, "network"),
        kernel_size=run.kernel_size,
    )


def train(run: Run, data: ImageData, work: Path) -> dict[str, object]:
    schedule = SCHEDULES[run.data]
    model = network(run, data)
    start = time.process_time()
    plain = None
    if run.table == "warm-start":
        first = replace(schedule, epochs=WARM_PLAIN)
        plain = fit(model, data, first, seed=run.seed, checkpoint=work / "plain.ckpt")
        if run.init == "preserve":
            calibration = [normalised(data, 256)]
            from rfaconv.surgery import convert_
            from rfaconv.surgery.where import basic_block_conv1

            model.eval()
            convert_(model, run.operator, where=basic_block_conv1, init="preserve",
                     calibration=calibration)  # fmt: skip
            model.train()
        else:
            put_operator_(model, run.operator)
        schedule = replace(schedule, epochs=WARM_TUNED[run.init], lr=TUNE_LR)
    fitted = fit(model, data, schedule, seed=run.seed, checkpoint=work / "run.ckpt")
    seconds = time.process_time() - start
    return {
        "run": asdict(run),
        "command": "python benchmarks/accuracy.py --root DATA",
        "recipe": {
            "model": "small",
            "data": data.name,
            "digest": data.digest,
            "train_images": len(data.train),
            "test_images": len(data.val),
            "image_size": data.image_size,
            "schedule": asdict(schedule),
            "plain_epochs_first": WARM_PLAIN if plain else None,
        },
        "result": {
            "top1": fitted.top1,
            "correct": fitted.correct,
            "images": fitted.images,
            "plain_top1": plain.top1 if plain else None,
            "curve": [asdict(record) for record in fitted.history],
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "measured": {"cpu_seconds": seconds},
        "environment": environment(torch.device("cpu")),
    }


def normalised(data: ImageData, count: int) -> torch.Tensor:
    from rfaconv.data import Normalize

    index = torch.linspace(0, len(data.train) - 1, count).long().tolist()
    images: torch.Tensor = Normalize(data.mean, data.std)(data.train.__getitems__(index)[0])
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/accuracy"))
    parser.add_argument("--work", type=Path, default=Path("rfaconv-grid-work"))
    parser.add_argument("--list", action="store_true", help="what is missing")
    args = parser.parse_args()
    missing = [run for run in grid() if not (args.out / run.file).exists()]
    if args.list:
        print("\n".join(run.file for run in missing))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    specs = {"eurosat": EUROSAT, "fashion-mnist": FASHION}
    data = {k: load_data(replace(spec, root=args.root)) for k, spec in specs.items()}
    for run in missing:
        work = args.work / run.file.removesuffix(".json")
        work.mkdir(parents=True, exist_ok=True)
        with limited_threads(1):
            value = train(run, data[run.data], work)
        write_atomic(args.out / run.file, strict_json(value))
        for file in work.iterdir():
            file.unlink()
        top1, seconds = value["result"]["top1"], value["measured"]["cpu_seconds"]  # type: ignore[index]
        print(f"{run.file} top-1 {top1:.4f} {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
