"""Trains a recipe of a detector or a segmenter with several operators and seeds.

One JSON file per training, written at once when it is done; a training whose file is there is not
run again, one that was cut off goes on. Every training has the recipe's schedule and is judged
after its last epoch.

    python benchmarks/tasks.py bccd-fcos data.root=BCCD epochs=8 threads=1 \
        --operators conv,rfa --seeds 3 --work runs --out benchmarks/results/fcos-bccd
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors import safe_open

from rfaconv.files import strict_json, write_atomic
from rfaconv.recipes.tasks import read_task_recipe
from rfaconv.tasks import evaluate_task, train_task
from rfaconv.training.saves import WEIGHTS, last_good

MOVED = ("running_mean", "running_var", "num_batches_tracked")


def parameters(run: Path) -> int:
    """Numbers in the last checkpoint that were learnt."""
    path, _ = last_good(run)
    assert path is not None
    with safe_open(path / WEIGHTS, "pt") as file:
        names = [n for n in file.keys() if not n.endswith(MOVED)]  # noqa: SIM118  # no mapping
        return sum(file.get_tensor(name).numel() for name in names)


def trained(recipe_name: str, overrides: list[str], run: Path) -> dict[str, object]:
    recipe = read_task_recipe(recipe_name, overrides)
    value = train_task(recipe, run, say=print)
    judged = evaluate_task(run)
    described = recipe.model_dump(mode="json")
    # where the pictures lay is of no interest elsewhere
    described["data"]["root"] = Path(recipe.data.root).name
    shown = [f"data.root={described['data']['root']}" if o.startswith("data.root=") else o
             for o in overrides]  # fmt: skip
    return {
        "command": " ".join(["rfaconv train", recipe_name, *shown]),
        "recipe": described,
        "operator": recipe.model.operator,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "parameters": parameters(run),
        **{k: v for k, v in judged.items() if k not in ("task", "checkpoint")},
        "curve": value["result"]["curve"],
        "seconds": value["measured"]["seconds"],
        "data": value["data"],
        "environment": value["environment"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--operators", default="conv,rfa,rfcbam,rfca,ca,cbam,cam")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    for seed in range(words.seeds):
        for operator in words.operators.split(","):
            target = words.out / f"{operator}-{seed}.json"
            if target.exists():
                continue
            overrides = [*words.overrides, f"model.operator={operator}", f"seed={seed}"]
            result = trained(words.recipe, overrides, words.work / target.stem)
            write_atomic(target, strict_json(result))
            print(operator, seed, json.dumps(result["per_class"]), flush=True)


if __name__ == "__main__":
    main()
