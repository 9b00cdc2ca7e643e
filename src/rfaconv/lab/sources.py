"""What a command may be given as a model: a run, a folder of a network, a file, a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.reading import CONFIG
from rfaconv.export.runtimes import SUFFIXES
from rfaconv.export.source import Source, folder_source, named_source
from rfaconv.nn._convolution import AttentionConv
from rfaconv.variants import OPERATORS

if TYPE_CHECKING:
    from rfaconv.lab.recipes.classify import Model

EXPECTED = (
    "a run of rfaconv train, a folder of save_pretrained, a .safetensors, a .pt of ultralytics, "
    "an exported file or a network of timm"
)
YOLO_RUN = "ultralytics/weights/last.pt"
YOLO_WEIGHTS = ("weights/best.pt", "weights/last.pt")


@dataclass(frozen=True)
class Place:
    """What a user's word for a model stands for.

    Attributes:
        kind: ``run`` (a classifier's), ``checkpoint`` (of such a run), ``predictor`` (a file of
            :func:`rfaconv.lab.predict.save_predictor`), ``folder`` (of ``save_pretrained``),
            ``yolo``, ``exported`` or ``name`` (of a network of timm).
        path: where it lies; of a run of detectors or segmenters, the file that it ended with. Of a
            name, the name.
    """

    kind: str
    path: Path


def identify(model: str | Path) -> Place:
    """Says what a word for a model stands for, without reading any weights.

    Args:
        model: folder of a run of ``rfaconv train`` or of a training of ultralytics, or one of its
            checkpoints; a folder of :func:`rfaconv.export.save_pretrained`; a ``.safetensors``; a
            ``.pt`` of ultralytics; a file of ``rfaconv export``; or a name for
            ``timm.create_model``.

    Raises:
        InvalidArgument: a folder or a file that is none of these; what was found is said.

    Example:
        >>> identify("rfa_resnet18").kind
        'name'
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    if path.suffix in (".safetensors", ".pt", *SUFFIXES) or path.is_absolute():
        raise InvalidArgument("model", EXPECTED, f"{path}, which does not exist")
    return Place("name", Path(model))


def _folder(path: Path) -> Place:
    from rfaconv.lab.building import read_run
    from rfaconv.lab.tasks.base import PREDICTOR
    from rfaconv.lab.training.run_folder import RECIPE_FILE
    from rfaconv.lab.training.saves import MANIFEST

    single = (path / MANIFEST).is_file()
    run = path.resolve().parent.parent if single else path
    if (run / RECIPE_FILE).is_file():
        task = read_run(run).task
        if task == "classify":
            return Place("checkpoint" if single else "run", path)
        kind, name = ("yolo", YOLO_RUN) if task == "yolo" else ("predictor", PREDICTOR)
        if not (run / name).is_file():
            got = f"{run}, a run that has not ended: it has no {name}"
            raise InvalidArgument("model", "a run that has ended", got)
        return Place(kind, run / name)
    if (path / CONFIG).is_file():
        return Place("folder", path)
    for name in YOLO_WEIGHTS:
        if (path / name).is_file():
            return Place("yolo", path / name)
    inside = sorted(entry.name for entry in path.iterdir())
    said = ", ".join(inside[:6]) + (", …" if len(inside) > 6 else "")
    got = f"{path}, a folder with {said}" if inside else f"{path}, an empty folder"
    raise InvalidArgument("model", EXPECTED, got)


def _file(path: Path) -> Place:
    from rfaconv.lab.training.saves import MANIFEST

    if path.name.endswith(SUFFIXES):
        return Place("exported", path)
    if path.suffix == ".pt":
        return Place("yolo", path)
    if path.suffix == ".safetensors":
        if (path.parent / MANIFEST).is_file():
            return _folder(path.parent)  # the weights of a checkpoint do not say what they are of
        if path.name == "model.safetensors" and (path.parent / CONFIG).is_file():
            return Place("folder", path.parent)
        return Place("predictor", path)
    raise InvalidArgument("model", EXPECTED, f"{path}, a file of none of these endings")


def load_source(
    model: str | Path, *, size: Sequence[int] | None = None, pretrained: bool = False
) -> Source:
    """Reads a network to export by the name or the place that a user gives.

    Args:
        model: see :func:`identify`; no exported file and none of ultralytics. Of a detector it is
            the network to all boxes with their scores, and the numbers by which some are chosen.
        size: height and width, in pixels; None for the network's own.
        pretrained: whether timm may fetch the weights of a named network.

    Raises:
        InvalidArgument: it is none of these, or a detector of two stages.

    Example:
        >>> load_source("rfa_resnet18").input_size
        (224, 224)
    """
    place = identify(model)
    if place.kind == "yolo":
        hint = f"rfaconv yolo export model={place.path} format=onnx"
        expected = f"a network of rfaconv or timm (of ultralytics: {hint})"
        raise InvalidArgument("model", expected, f"{place.path}, a network of ultralytics")
    source = read_network_of(place, pretrained)
    if source.task == "detect":
        source = _dense(source)
    return source if size is None else replace(source, input_size=(size[0], size[1]))


def read_network_of(place: Place, pretrained: bool = False) -> Source:
    """The network of PyTorch at a place, with what its user must know of the images.

    Raises:
        InvalidArgument: it is an exported file or one of ultralytics, or cannot be read.
    """
    path = place.path
    if place.kind in ("run", "checkpoint"):
        return _run(path, single=place.kind == "checkpoint")
    if place.kind == "folder":
        return folder_source(path)
    if place.kind == "predictor":
        return _predictor(path)
    if place.kind == "name":
        return named_source(str(path), str(path).rpartition("/")[2], pretrained)
    known = {"exported": "an exported file", "yolo": "a network of ultralytics"}
    raise InvalidArgument("model", "a network of PyTorch", f"{path}, {known[place.kind]}")


def _run(path: Path, single: bool) -> Source:
    from rfaconv.lab.building import read_run, recipe_data, recipe_network
    from rfaconv.lab.training.run_folder import begun_with
    from rfaconv.lab.training.saves import WEIGHTS, best_good

    run = path.resolve().parent.parent if single else path
    recipe = read_run(run)
    # by what the run says of its images, whatever became of them
    data = begun_with(run).get("form") or recipe_data(recipe)
    network = recipe_network(recipe, data, (path if single else best_good(run)) / WEIGHTS)
    architecture, arguments = _fitted(recipe.model, network, data.image_size)
    return Source(
        network, run.resolve().name, (data.image_size, data.image_size), data.channels,
        data.classes, data.mean, data.std, architecture, arguments, "classify",
    )  # fmt: skip


def _fitted(part: Model, network: nn.Module, size: int) -> tuple[str, dict[str, Any]]:
    """By what timm builds a run's network: name and arguments; nothing where it does not."""
    from rfaconv.models.fitted import LAYOUTS, PLAIN

    known = part.name in LAYOUTS and part.operator in (PLAIN, *OPERATORS)
    if not known or part.kernel_size is not None or part.width != 1:
        return "", {}
    layers: list[Any] = [m for m in network.modules() if isinstance(m, AttentionConv)]
    bias = any(layer.bias is not None for layer in layers)
    made = {"layout": part.name, "operator": part.operator, "image_size": size, "bias": bias}
    return "fitted_resnet", made


def _predictor(path: Path) -> Source:
    from rfaconv.lab.predict.networks import normalisation_of, read_network
    from rfaconv.lab.tasks.base import PREDICTOR

    network, about = read_network(path)
    settings, task = about["settings"], about["task"]
    own: Any = network  # a detector knows its size itself
    side = own.transform.min_size[0] if task == "detect" else settings.get("size") or 224
    size = settings.get("image_size") or (side, side)
    name = path.resolve().parent.name if path.name == PREDICTOR else path.stem
    masks: dict[str, Any] = {}
    if task == "segment":
        masks = {"resize": "stretch" if settings.get("image_size") else "pad", "multiple": 32}
    return Source(
        network, name, (size[0], size[1]), 3, tuple(about["names"]),
        *normalisation_of(about), task=task, **masks,
    )  # fmt: skip


def _dense(source: Source) -> Source:
    """A detector to be exported: without the choice of boxes, which the file describes."""
    from rfaconv.lab.networks.dense import LEAST, MULTIPLE, DenseDetector, choice_of

    detector: Any = source.network
    dense = DenseDetector(detector).eval()
    mean, std = tuple(detector.transform.image_mean), tuple(detector.transform.image_std)
    return replace(
        source, network=dense, mean=mean, std=std, resize="shorter", multiple=MULTIPLE,
        least=LEAST, choice=choice_of(detector),
    )  # fmt: skip
