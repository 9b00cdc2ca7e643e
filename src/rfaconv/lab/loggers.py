"""Where the figures of every epoch go beside ``metrics.csv``, through Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from rfaconv.errors import InvalidArgument, unknown_name

LOGGERS = {"csv": None, "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""By name, and the package that each needs."""


def check_loggers(names: Sequence[str]) -> None:
    """Raises InvalidArgument at an unknown name or one whose package is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise unknown_name("log", name, LOGGERS)
        package = LOGGERS[name]
        if package is not None and find_spec(package) is None:
            raise InvalidArgument("log", f"one that is installed ({package} is not)", repr(name))


def loggers(names: Sequence[str] | None, out: Path, recipe: Any) -> list[Any]:
    """The loggers of a run, in its folder.

    Args:
        names: of :data:`LOGGERS`; None is TensorBoard where that is installed.
        out: the run's folder.
        recipe: is written down with them.

    Raises:
        InvalidArgument: as of :func:`check_loggers`.
    """
    if names is None:
        names = ("tensorboard",) if find_spec("tensorboard") is not None else ()
    check_loggers(names)
    made: list[Any] = []
    for name in names:
        if name == "csv":
            made.append(CSVLogger(out, name="", version="log"))
        elif name == "tensorboard":
            made.append(TensorBoardLogger(out, name="", version="tensorboard"))
        elif name == "wandb":
            from lightning.pytorch.loggers import WandbLogger

            made.append(WandbLogger(name=out.name, save_dir=out, project="rfaconv"))
        else:
            from lightning.pytorch.loggers import MLFlowLogger

            made.append(MLFlowLogger("rfaconv", run_name=out.name, save_dir=str(out / "mlflow")))
        if name != "tensorboard":
            made[-1].log_hyperparams(recipe.model_dump(mode="json"))
    return made
