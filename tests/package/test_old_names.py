"""Old names of what moved into the laboratory."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

import rfaconv
from rfaconv._moved import MOVED, RENAMED

SUBMODULES = [
    (f"rfaconv.{old}", name, f"rfaconv.{new}")
    for old, places in MOVED.items()
    for name, new in places.items()
    if name
]
NAMES = [
    ("rfaconv.data", "load_data", "rfaconv.lab.data"),
    ("rfaconv.detection", "build_detector", "rfaconv.lab.networks.detectors"),
    ("rfaconv.detection", "read_yolo", "rfaconv.lab.data.yolo.reading"),
    ("rfaconv.integrations.ultralytics.dataset", "write_dataset", "rfaconv.lab.data.yolo.writing"),
    ("rfaconv.predict", "load_predictor", "rfaconv.lab.predict"),
    ("rfaconv.recipes", "read_recipe", "rfaconv.lab.recipes"),
    ("rfaconv.segmentation", "IGNORED", "rfaconv.lab.data.masks"),
]


@pytest.fixture(autouse=True)
def _never_imported() -> Iterator[None]:
    """Old names as a program finds them that has not used any."""
    before = dict(sys.modules)
    old = tuple(f"rfaconv.{name}" for name in MOVED)
    for name in [n for n in sys.modules if n in old or n.startswith(tuple(f"{o}." for o in old))]:
        del sys.modules[name]
    yield
    for name in [n for n in sys.modules if n not in before and n.startswith(old)]:
        del sys.modules[name]
        parent, _, last = name.rpartition(".")
        vars(sys.modules.get(parent, rfaconv)).pop(last, None)


@pytest.mark.parametrize(("old", "name", "new"), SUBMODULES, ids=lambda part: part)
def test_an_old_module_is_known(old: str, name: str, new: str) -> None:
    assert find_spec(new) is not None
    with pytest.warns(DeprecationWarning, match=f"{old} is now rfaconv"):
        found = importlib.import_module(f"{old}.{name}")
    assert found.__name__ == f"{old}.{name}"


@pytest.mark.parametrize(("old", "name", "new"), NAMES, ids=lambda part: part)
def test_an_old_name_is_the_new_one_and_warns_once(old: str, name: str, new: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = getattr(importlib.import_module(old), name)
        getattr(importlib.import_module(old), name)
    assert found is getattr(importlib.import_module(new), name)
    told = [str(w.message) for w in caught if w.category is DeprecationWarning]
    assert len(told) == 1
    assert new in told[0]


def test_the_warning_points_at_the_import() -> None:
    with pytest.warns(DeprecationWarning, match="recipes") as caught:
        import rfaconv.recipes  # noqa: F401
    assert caught[0].filename == __file__


@pytest.mark.parametrize("old", RENAMED)
def test_names_that_changed_before(old: str) -> None:
    module, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning, match=module):
        found = getattr(importlib.import_module(module), name)
    assert found.__name__ == RENAMED[old]


@pytest.mark.parametrize("old", MOVED)
def test_what_never_was_is_an_attribute_error(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=old):
        module = importlib.import_module(f"rfaconv.{old}")
    with pytest.raises(AttributeError, match="no attribute 'no_such'"):
        module.no_such  # noqa: B018


def test_a_pickle_with_the_old_name_of_a_class_opens() -> None:
    """As ultralytics' checkpoints of networks with ``FeaturesConv`` have it."""
    with pytest.warns(DeprecationWarning, match="training"):
        found = pickle.loads(b"crfaconv.training.ablations\nFeatureConv2d\n.")
    from rfaconv.nn._feature import FeatureConv2d

    assert found is FeatureConv2d
