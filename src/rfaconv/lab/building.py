"""From a recipe or a run to its images and its network, whatever the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.lab.networks.classifiers import PLAIN, put_operator_
from rfaconv.lab.recipes import Recipe, read_recipe
from rfaconv.lab.tasks import LightningTask, task_named
from rfaconv.lab.training.run_folder import RECIPE_FILE, check_data
from rfaconv.lab.training.saves import WEIGHTS, best_good
from rfaconv.surgery.structure import add_biases_


def read_run(run: Path) -> Recipe:
    """The resolved recipe that a run was started with.

    Raises:
        InvalidArgument: the folder is no run.
    """
    if not (run / RECIPE_FILE).is_file():
        raise InvalidArgument("run", f"the folder of a run, with {RECIPE_FILE}", str(run))
    return read_recipe(str(run / RECIPE_FILE))


def run_data(run: Path, recipe: Recipe) -> Any:
    """The images that a run was trained with.

    Raises:
        InvalidArgument: they are missing or damaged, or were changed since.
    """
    data = recipe_data(recipe)
    check_data(data, run)
    return data


def recipe_data(recipe: Recipe) -> Any:
    """The images of a recipe.

    Raises:
        InvalidArgument: they are missing or damaged.
    """
    return task_named(recipe.task).data(recipe)


def recipe_network(recipe: Recipe, data: Any, weights: Path | None = None) -> nn.Module:
    """The network of a recipe, initialised or from its ``model.warm_start``.

    All layers but the replaced ones start from the same numbers for every operator with one seed.

    Args:
        recipe: of any task.
        data: its images.
        weights: a file that a run of the recipe saved: the network has those, whatever became of
            the warm start.

    Raises:
        InvalidArgument: an unknown name, or weights that do not fit.
    """
    task, model = task_named(recipe.task), recipe.model
    pretrained = getattr(model, "pretrained", False)
    network = task.plain(recipe, data, fetch=weights is None)
    if not isinstance(task, LightningTask):
        return network
    body, backend = task.body(network), getattr(model, "backend", "auto")
    if weights is not None:
        state = read_weights(weights)
        put_operator_(body, model.operator, backend, where=model.where)
        add_biases_(network, state)
        load_weights(network, weights, state=state)
        return network
    if model.warm_start is None and not pretrained:
        put_operator_(body, model.operator, backend, where=model.where)
        return network
    if model.warm_start is not None:
        path = Path(model.warm_start).expanduser()
        load_weights(network, best_good(path) / WEIGHTS if path.is_dir() else path,
                     getattr(model, "reset_head", False))  # fmt: skip
    if model.operator != PLAIN:
        network.eval()
        put_operator_(body, model.operator, backend, where=model.where, init="preserve",
                      calibration=task.calibration(network, recipe, data))  # fmt: skip
        network.train()
    return network


def load_weights(
    network: nn.Module,
    path: Path,
    reset_head: bool = False,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Loads a safetensors file into ``network``.

    Args:
        network: of the same structure.
        path: the file.
        reset_head: leave the classifier as it is.
        state: the file's tensors, if they have been read.

    Raises:
        InvalidArgument: the file cannot be read or does not fit; the first misfit is named.
    """
    state = dict(read_weights(path) if state is None else state)
    own = network.state_dict()
    if reset_head:
        named = getattr(network, "pretrained_cfg", {}).get("classifier") or "fc"
        heads = tuple(f"{one}." for one in ([named] if isinstance(named, str) else named))
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
        state |= {key: own[key] for key in own if key.startswith(heads)}
    for key in [*own, *state]:
        if key not in state or key not in own or own[key].shape != state[key].shape:
            raise InvalidArgument("weights", f"this network's tensors, {key} among them", str(path))
    network.load_state_dict(state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InvalidArgument: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidArgument("weights", "a safetensors file", f"{path} ({error})") from error
    return state
