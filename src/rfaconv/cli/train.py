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
    names: Annotated[bool, typer.Option("--list", help="The recipes, a line each.")] = False,
) -> None:
    """Train on a folder of images, or a recipe; the same command goes on where it was cut off.

    A folder may hold a folder per class, Pascal VOC, COCO, YOLO (data.yaml) or images with masks.
    """
    from rfaconv.errors import unknown_name
    from rfaconv.recipes import read_recipe, recipe_names
    from rfaconv.recipes.files import parsed_recipe
    from rfaconv.recipes.tasks import is_task_recipe, task_recipe_names

    known = [*recipe_names(), *task_recipe_names()]
    if names:
        width = max(map(len, known))
        typer.echo("\n".join(f"{n:{width}}  {parsed_recipe(n).get('about', '')}" for n in known))
        return
    if recipe not in known and Path(recipe).expanduser().is_dir():
        _train_folder(Path(recipe).expanduser(), _words(overrides, precision, strict), out,
                      accelerator, devices, nodes, strategy, resume)  # fmt: skip
        return
    if not recipe.endswith((".yaml", ".yml")) and recipe not in known:
        raise unknown_name("recipe", recipe, [*known, "FILE.yaml"])
    words = _words(overrides, precision, strict)
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


def _words(overrides: list[str] | None, precision: str | None, strict: bool) -> list[str]:
    words = [*(overrides or []), *([f"precision={precision}"] if precision else [])]
    return words + (["data.strict=true"] if strict else [])


def _train_folder(
    path: Path,
    words: list[str],
    out: Path | None,
    accelerator: str,
    devices: int,
    nodes: int,
    strategy: str,
    resume: str,
) -> None:
    """Looks what the folder is, says so, and trains."""
    from rfaconv.lab.looking import look
    from rfaconv.recipes.files import checked, overridden
    from rfaconv.recipes.schema import Recipe
    from rfaconv.recipes.tasks import TaskRecipe

    seen = look(path.resolve())
    typer.echo(seen.said, err=True)
    values, folder = overridden(seen.recipe, words), out or Path("runs") / path.resolve().name
    if seen.task is None:
        from rfaconv.cli._train_run import run

        recipe = checked(values, Recipe)
        run(recipe, folder, accelerator, devices, nodes, strategy, resume)
        return
    from rfaconv.cli import _task_run

    _task_run.carry_out(checked(values, TaskRecipe), folder, accelerator, devices * nodes, resume)
