"""Old names of what moved into the laboratory: for one release they work and warn.

``from rfaconv.recipes import read_recipe`` and ``import rfaconv.training.saves`` find what is now
in ``rfaconv.lab``. Checkpoints of ultralytics of networks with ``FeaturesConv`` name
``rfaconv.training.ablations.FeatureConv2d``: that name has to stay when the others go.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


def _same(package: str, *names: str) -> dict[str, str]:
    return {name: f"{package}.{name}" for name in names}


MOVED: dict[str, dict[str, str]] = {
    "data": {
        "": "lab.data",
        **_same("lab.data", "augment", "base", "decoding", "digits", "eurosat", "folder"),
        "global_batches": "lab.data.loaders",
        **_same("lab.data", "load", "loaders", "lookup", "sample", "scenes", "vision"),
    },
    "detection": {
        "samples": "lab.data.boxes",
        **_same("lab.data", "coco", "voc"),
        "yolo": "lab.data.yolo.reading",
        "networks": "lab.networks.detectors",
        "dense": "lab.networks.dense",
        "module": "lab.training.detector",
    },
    "integrations.ultralytics.dataset": {"": "lab.data.yolo.writing"},
    "predict": {
        "": "lab.predict",
        **_same("lab.predict", "drawing", "networks", "prediction", "sources", "ultralytics"),
    },
    "recipes": {
        "": "lab.recipes",
        **_same("lab.recipes", "classify", "detect", "files", "parts", "schema", "segment", "yolo"),
    },
    "segmentation": {
        "masks": "lab.data.masks",
        "networks": "lab.networks.segmenters",
        "module": "lab.training.segmenter",
    },
    "training": {
        "": "lab.training",
        **_same("lab.training", "callbacks", "class_weights", "classifier", "device", "engine"),
        **_same("lab.training", "module", "preemption", "run_data", "run_folder", "saves"),
        **_same("lab.training", "schedules", "synced"),
        "ablations": "lab.networks.ablations",
        "environment": "bench.environment",
        "files": "files",
        "networks": "lab.networks.classifiers",
        "seeds": "lab.seeds",
    },
}
"""Old module: its submodules and where they are; ``""`` is the module itself."""

RENAMED = {
    "rfaconv.data.RandomMirror": "RandomHorizontalFlip",
    "rfaconv.predict.Finding": "Prediction",
}


class _Old(ModuleType):
    """A submodule of an old name; imports the new one when it is asked for something."""

    def __init__(self, name: str, new: str) -> None:
        super().__init__(name)
        self.__dict__["_new"] = new

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(self._new), name)


def moved(old: str) -> Callable[[str], Any]:
    """Warns of an old module that is being imported; returns its ``__getattr__``."""
    places = {k: f"rfaconv.{v}" for k, v in MOVED[old.removeprefix("rfaconv.")].items()}
    new = [places[""]] if "" in places else sorted(set(places.values()))
    warnings.warn(f"{old} is now {', '.join(new)}", DeprecationWarning, stacklevel=3)
    for name, place in places.items():
        if name:
            sys.modules[f"{old}.{name}"] = _Old(f"{old}.{name}", place)

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        if name in places:
            return import_module(places[name])
        wanted = RENAMED.get(f"{old}.{name}", name)
        for place in new:
            found = import_module(place)
            if hasattr(found, wanted):
                return getattr(found, wanted)
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return find
