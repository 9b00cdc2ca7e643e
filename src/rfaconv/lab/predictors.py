"""What a command that predicts may be given: a run, a folder of a network, or a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.errors import InvalidArgument
from rfaconv.export.reading import CONFIG
from rfaconv.export.source import Source
from rfaconv.lab.building import read_run
from rfaconv.lab.sources import load_source
from rfaconv.lab.tasks.predictors import PREDICTOR
from rfaconv.predict import Finding, Predictor, load_predictor
from rfaconv.training.run_folder import RECIPE_FILE
from rfaconv.training.saves import MANIFEST

BEST = 5
"""Classes of an image that are kept, the likeliest first."""


def open_predictor(model: Path | str, *, threshold: float = 0.25) -> Predictor:
    """Reads whatever a user has of a trained network.

    Args:
        model: folder of a run of ``rfaconv train`` or one of its checkpoints, a folder of
            :func:`rfaconv.export.save_pretrained`, a ``.safetensors`` file, or a ``.pt`` of
            ultralytics, which runs code when it is loaded: only open files that you trust.
        threshold: least score of a box.

    Raises:
        InvalidArgument: it is none of these, or a run of detectors or segmenters that has not
            ended.
    """
    path = Path(model).expanduser()
    if path.is_file() and (path.parent / MANIFEST).is_file():
        path = path.parent  # the weights of a checkpoint do not say what they are of
    if not path.is_dir():
        return load_predictor(path, threshold=threshold)
    run = path.parent.parent if (path / MANIFEST).is_file() else path
    task = read_run(run).task if (run / RECIPE_FILE).is_file() else "classify"
    if task == "yolo":
        return load_predictor(run / "ultralytics/weights/last.pt", threshold=threshold)
    if task != "classify":
        if not (run / PREDICTOR).is_file():
            raise InvalidArgument("weights", "a run that has ended", f"{run}, no {PREDICTOR}")
        return load_predictor(run / PREDICTOR, threshold=threshold)
    if not (run / RECIPE_FILE).is_file() and not (path / CONFIG).is_file():
        expected = f"a run (with {RECIPE_FILE}) or a folder of save_pretrained (with {CONFIG})"
        raise InvalidArgument("weights", expected, str(path))
    return _of(load_source(path))


def _of(source: Source) -> Predictor:
    """A classifier or a segmenter with its own size and normalisation, by what it returns."""
    network = source.network.eval()
    high, wide = source.input_size
    mean = torch.tensor(source.mean or (0.5,) * source.channels)[:, None, None]
    std = torch.tensor(source.std or (0.25,) * source.channels)[:, None, None]
    with torch.no_grad():
        outputs = network(torch.zeros(1, source.channels, high, wide))
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 4):
        expected = "a network that returns scores of classes, or of classes in every pixel"
        raise InvalidArgument("weights", expected, source.name)
    names = source.classes or tuple(str(index) for index in range(outputs.shape[1]))
    if len(names) != outputs.shape[1]:
        raise InvalidArgument("weights", f"names for {outputs.shape[1]} classes", f"{len(names)}")
    whole = outputs.dim() == 4
    # as in training: the shorter side to the size and the centre, or the whole image
    steps = [v2.Resize((high, wide), antialias=True)] if whole else [
        v2.Resize(min(high, wide), antialias=True), v2.CenterCrop((high, wide)),
    ]  # fmt: skip
    resize = v2.Compose(steps)

    def find(image: Tensor) -> Finding:
        shown = v2.functional.rgb_to_grayscale(image) if source.channels == 1 else image
        x = (resize(shown).float() / 255 - mean) / std
        with torch.no_grad():
            scores = network(x[None])
        if whole:
            full = torch.nn.functional.interpolate(scores, image.shape[-2:], mode="bilinear")
            return Finding(names, mask=full.argmax(1)[0])
        chances = scores.softmax(1)[0]
        order = chances.argsort(descending=True)[:BEST].tolist()
        return Finding(names, classes=tuple((names[i], float(chances[i])) for i in order))

    return Predictor("segment" if whole else "classify", names, find)
