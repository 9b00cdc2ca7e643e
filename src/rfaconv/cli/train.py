"""``rfaconv train``: carries out a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Name (see --list) or a YAML file.")] = "digits",
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as model.operator=rfca seed=2.")
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
    names: Annotated[bool, typer.Option("--list", help="Names of the recipes.")] = False,
) -> None:
    """Train a recipe; the same command goes on where a run was cut off."""
    from rfaconv.errors import unknown_name
    from rfaconv.recipes import read_recipe, recipe_names
    from rfaconv.recipes.tasks import is_task_recipe, task_recipe_names

    known = [*recipe_names(), *task_recipe_names()]
    if names:
        typer.echo("\n".join(known))
        return
    if not recipe.endswith((".yaml", ".yml")) and recipe not in known:
        raise unknown_name("recipe", recipe, [*known, "FILE.yaml"])
    words = [*(overrides or []), *([f"precision={precision}"] if precision else [])]
    words += ["data.strict=true"] if strict else []
    if is_task_recipe(recipe):
        from rfaconv.cli import _task_run

        folder = out or Path("runs") / Path(recipe).stem
        _task_run.train(recipe, words, folder, accelerator, devices * nodes, resume)
        return
    chosen = read_recipe(recipe, words)
    from rfaconv.cli._train_run import run

    run(
        chosen,
        out or Path("runs") / Path(recipe).stem,
        accelerator,
        devices,
        nodes,
        strategy,
        resume,
    )
