"""A whole grid judged: accuracy, calibration, corrupted images and gates of all its trainings.

What is found of a training depends on its weights alone, so it is kept by their hash: judged again,
a grid that has grown costs what is new in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from rfaconv.bench.environment import environment
from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import read_run, recipe_data
from rfaconv.lab.contenders import matched
from rfaconv.lab.evaluate import trained_run
from rfaconv.lab.gates import gates_of
from rfaconv.lab.progress import Cell
from rfaconv.lab.robustness import corrupted_figures
from rfaconv.lab.statistics import Difference, mean_and_std, paired_difference
from rfaconv.lab.store import Store
from rfaconv.lab.training.saves import MANIFEST, WEIGHTS, last_good

SCHEMA = 1
GATED = ("rfa", "rfa-values", "rfcbam", "rfca")
UNGATED = "features"
_TASK = re.compile(r"recipes\.(.+)\.task")
Row = dict[str, Any]
Say = Callable[[str], None]


def grid_evidence(
    root: Path,
    known: Mapping[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda value: None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Judges every finished training of a grid; writes nothing into its folder.

    Args:
        root: results folder of ``rfaconv compare`` with one recipe, of a classifier, finished or
            not. Runs that were dropped have no figures but their scores (``keep: all`` of a study
            keeps them).
        known: what this returned before.
        save: called with what is known so far, after every training that is judged.
        say: called with sentences for people.

    Returns:
        ``runs`` (a row for each finished training), ``operators`` (means), ``differences`` (paired,
        see :func:`differences`), ``missing`` (sentences), ``cost``, ``settings``.

    Raises:
        InvalidArgument: no such grid.
    """
    store = Store(root)
    settings = _settings(store)
    name = next(m[1] for key in settings if (m := _TASK.fullmatch(key)))
    cost: dict[str, Any] = (store.read("cost.json") or {}).get(name, {})
    earlier = {(r["operator"], r["seed"]): r for r in (known or {}).get("runs", ())}
    rows: list[Row] = []
    missing: list[str] = []
    data: Any = None

    def assembled() -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "recipe": name,
            "settings": settings,
            "missing": missing,
            "operators": _operators(rows, cost, settings["operators"]),
            "differences": differences(rows, settings["baseline"], cost),
            "runs": rows,
            "cost": cost,
            "environment": environment(torch.device("cpu")),
        }

    for seed in settings["seeds"]:
        for operator in settings["operators"]:
            cell, called = Cell(name, operator, seed), f"{operator}, seed {seed}"
            pair = store.pair(cell)
            if pair is None:
                missing.append(f"{called}: not trained yet")
                continue
            row = _trained(cell, pair)
            rows.append(row)
            weights = _weights(store.run(cell))
            before = earlier.get((operator, seed))
            if weights is None:
                missing.append(f"{called}: its weights were not kept")
            elif before is not None and before.get("weights") == weights:
                row |= {key: before[key] for key in ("weights", "corrupted", "gates")}
            else:
                say(f"judging {called}")
                if data is None:
                    data = recipe_data(read_run(store.run(cell)))
                row |= {"weights": weights, **_judged(store.run(cell), operator, data)}
                save(assembled())
    return assembled()


def _settings(store: Store) -> dict[str, Any]:
    """Of a grid of one recipe, of a classifier."""
    record = store.read("run.json")
    if record is None:
        raise InvalidArgument("grid", "a results folder of rfaconv compare", str(store.root))
    # where the images lie says nothing on another machine; the digest names them
    settings = {k: v for k, v in record["settings"].items() if not k.endswith(".data.root")}
    tasks = {m[1]: settings[key] for key in settings if (m := _TASK.fullmatch(key))}
    if list(tasks.values()) != ["classify"]:
        expected = "a grid of one recipe, of a classifier"
        raise InvalidArgument("grid", expected, f"{store.root} with {', '.join(tasks)}")
    return settings


def _trained(cell: Cell, pair: Mapping[str, Any]) -> Row:
    result = pair["result"]
    return {
        "operator": cell.operator,
        "seed": cell.seed,
        "top1": result["top1"],
        "images": result["images"],
        "steps": result["steps"],
        "curve": [
            {key: epoch[key] for key in ("train_loss", "val_loss", "top1")}
            for epoch in result["curve"]
        ],
        "seconds": pair["measured"]["seconds"],
    }


def _weights(run: Path) -> str | None:
    """The hash of a run's last weights."""
    path = last_good(run)[0] if run.is_dir() else None
    if path is None:
        return None
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    return str(manifest["files"][WEIGHTS]["sha256"])


def _judged(run: Path, operator: str, data: Any) -> Row:
    trained = trained_run(run, data=data, tasks=("classify",))
    with torch.inference_mode():
        return {
            "corrupted": corrupted_figures(trained.network, data),
            "gates": gates_of(trained) if operator in GATED else None,
        }


def scores(row: Row, budget: float | None, cost: Mapping[str, Any]) -> dict[str, float]:
    """What of a training is compared, in [0, 1].

    Args:
        row: of ``runs``.
        budget: seconds after which accuracy is compared at equal time.
        cost: of ``cost.json``.
    """
    found = {"top1": row["top1"]}
    if budget is not None:
        epochs = max(1, int(budget / _epoch_seconds(row, cost) + 1e-6))
        found["top1_equal_time"] = row["curve"][min(epochs, len(row["curve"])) - 1]["top1"]
    corrupted = row.get("corrupted")
    if corrupted is not None:
        found |= {
            "ece": corrupted["clean"]["ece"],
            "corrupted_top1": corrupted["mean"]["top1"],
            "corrupted_ece": corrupted["mean"]["ece"],
        }
        found |= {f"top1_{name}": fmean(k["top1"]) for name, k in corrupted["kinds"].items()}
    gates = row.get("gates")
    if gates is not None:
        found |= {f"gates_{k}": v for k, v in gates["score"].items() if v is not None}
    return found


def _epoch_seconds(row: Row, cost: Mapping[str, Any]) -> float:
    steps: float = row["steps"] / len(row["curve"])
    return steps * float(cost[row["operator"]]["measured"]["step_ms"]) / 1e3


def _budget(rows: Sequence[Row], cost: Mapping[str, Any]) -> float | None:
    """When the quickest training ends, by the steps' times as they were measured in turns."""
    if any(row["operator"] not in cost for row in rows):
        return None
    return min((_epoch_seconds(row, cost) * len(row["curve"]) for row in rows), default=None)


def _operators(
    rows: Sequence[Row], cost: Mapping[str, Any], operators: Sequence[str]
) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of every score, and of the gates' figures."""
    budget, result = _budget(rows, cost), {}
    for operator in operators:
        own = [row for row in rows if row["operator"] == operator]
        if not own:
            continue
        every = [scores(row, budget, cost) for row in own]
        found: dict[str, Any] = {"seeds": [row["seed"] for row in own], "scores": {}}
        for key in dict.fromkeys(key for one in every for key in one):
            mean, std = mean_and_std([one[key] for one in every if key in one])
            found["scores"][key] = {"mean": mean, "std": std}
        gates = [row["gates"] for row in own if row.get("gates")]
        if gates:
            found["gates"] = {
                key: None if gates[0][key] is None else fmean(one[key] for one in gates)
                for key in ("entropy", "between_windows", "between_images")
            }
        # how much of the accuracy came in the last tenth of the epochs
        epochs = len(own[0]["curve"])
        late = min(epochs, max(1, epochs // 10) + 1)
        found["last_tenth"] = fmean(r["top1"] - r["curve"][-late]["top1"] for r in own)
        result[operator] = found
    return result


def differences(
    rows: Sequence[Row], baseline: str, cost: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Paired differences over seeds, each with its own interval and with one that is corrected.

    The comparisons of a table share the error of 5% (Bonferroni). Tables are: every other
    operator against the baseline in one score (in ``corruptions``, in the accuracy under each
    kind), ``attention`` (operators with gates against the features alone), ``wide`` and ``long``
    (operators against the plain network that was matched to them), and ``constant`` and
    ``uniform`` (the same networks with their gates frozen, less as trained).

    Args:
        rows: of the trainings.
        baseline: the operator that others are compared with.
        cost: of ``cost.json``.
    """
    budget = _budget(rows, cost)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        found.setdefault(row["operator"], {})[row["seed"]] = scores(row, budget, cost)
    every = {key for seeds in found.values() for one in seeds.values() for key in one}
    plain = ("top1", "top1_equal_time", "ece", "corrupted_top1", "corrupted_ece")
    kinds = sorted(k for k in every if k.startswith("top1_") and k not in plain)
    pairs_of = {name: pair for name in found if (pair := matched(name)) is not None}
    # what was matched to an operator is compared with that one
    others = [name for name in found if name != baseline and name not in pairs_of]
    gated = [name for name in found if name in GATED]
    tables: dict[str, list[tuple[str, str, str, str]]] = {
        key: [(name, key, baseline, key) for name in others] for key in plain
    }
    tables["corruptions"] = [(name, key, baseline, key) for name in others for key in kinds]
    tables["attention"] = [(name, "top1", UNGATED, "top1") for name in gated]
    for key in ("wide", "long"):
        tables[key] = [
            (of, "top1", name, "top1") for name, (kind, of) in pairs_of.items() if kind == key
        ]
    for key in ("constant", "uniform"):
        tables[key] = [(name, f"gates_{key}", name, "gates_trained") for name in gated]
    resolution = 1 / max((row["images"] for row in rows), default=1)
    result = []
    for table, wanted in tables.items():
        pairs = []
        for name, one, base, other in wanted:
            ours, theirs = found.get(name, {}), found.get(base, {})
            seeds = [s for s in ours if one in ours[s] and other in theirs.get(s, {})]
            if seeds:
                values = [ours[s][one] for s in seeds], [theirs[s][other] for s in seeds]
                pairs.append((name, one, base, seeds, values))
        for name, one, base, seeds, values in pairs:
            alone = paired_difference(*values, resolution)
            shared = paired_difference(*values, resolution, comparisons=len(pairs))
            result.append(
                {
                    "table": table, "score": one, "operator": name, "baseline": base,
                    "seeds": seeds, **asdict(alone), "comparisons": len(pairs),
                    **_corrected(shared),
                }
            )  # fmt: skip
    return result


def _corrected(found: Difference) -> dict[str, Any]:
    return {"corrected_half_width": found.half_width, "corrected_verdict": found.verdict}
