"""``rfaconv train``: carries out a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="A folder of images, a name (see --list), or a YAML file.")
    ] = "digits",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, such as model.operator=rfca seed=2, or seed=0,1,2."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/RECIPE]")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="Of Lightning: auto, ddp ...")] = "auto",
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed, 16-mixed.")] = None,
    resume: Annotated[str, typer.Option(help="auto or never.")] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="A problem of the data set is an error (data.strict).")
    ] = False,
    task: Annotated[
        str | None, typer.Option(help="yolo: a YOLO of ultralytics on a folder of boxes or masks.")
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Loggers with commas: csv, tensorboard, wandb, mlflow, none. "
            "[default: tensorboard where it is installed]"
        ),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="The recipes, a line each.")] = False,
) -> None:
    """Train on a folder of images, or by a recipe.

    The same command goes on where it was cut off. A folder may hold a folder per class, Pascal VOC,
    COCO, YOLO (data.yaml) or images with masks.
    """
    from rfaconv.cli._options import parse_seeds
    from rfaconv.cli._train_run import Places, run
    from rfaconv.errors import InvalidArgument
    from rfaconv.lab.recipes import apply_overrides, parsed_recipe, recipe_names
    from rfaconv.lab.study import source_values

    known = recipe_names()
    if names:
        width = max(map(len, known))
        typer.echo("\n".join(f"{n:{width}}  {parsed_recipe(n).get('about', '')}" for n in known))
        return
    words = [*(overrides or []), *([f"precision={precision}"] if precision else [])]
    words += ["data.strict=true"] if strict else []
    several = [w for w in words if w.startswith("seed=") and "," in w]
    words = [word for word in words if word not in several]
    seeds = parse_seeds(several[-1].removeprefix("seed=")) if several else ()
    name, values, said = source_values(recipe, task)
    if said:
        typer.echo(said, err=True)
    chosen = [apply_overrides(values, [*words, *seed]) for seed in _seeds(seeds)]
    if task not in (None, chosen[0].task):
        raise InvalidArgument("task", f"that of {name}, {chosen[0].task}", repr(task))
    folder = out or Path("runs") / name
    folders = [folder / f"seed{one.seed}" for one in chosen] if seeds else [folder]
    logs = None if log is None else tuple(n for n in log.split(",") if n and n != "none")
    run(chosen, folders, Places(accelerator, devices, nodes, strategy, resume, logs))


def _seeds(seeds: tuple[int, ...]) -> list[list[str]]:
    return [[f"seed={seed}"] for seed in seeds] or [[]]
