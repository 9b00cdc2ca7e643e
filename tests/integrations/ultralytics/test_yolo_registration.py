"""register and unregister: what changes in ultralytics, what comes back, what is said."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

import rfaconv
from rfaconv.errors import InvalidArgument
from rfaconv.integrations import IntegrationError
from rfaconv.integrations.ultralytics import hook, version


def watched():
    import ultralytics.engine.model
    import ultralytics.nn
    import ultralytics.nn.tasks
    from ultralytics.utils.callbacks.base import default_callbacks

    modules = (ultralytics.engine.model, ultralytics.nn, ultralytics.nn.tasks)
    return (
        [dict(vars(m)) for m in modules],
        copy.copy(default_callbacks["on_pretrain_routine_start"]),
        set(map(str, torch.serialization.get_safe_globals())),
    )


def test_unregister_leaves_everything_as_it_was():
    rfaconv.unregister("ultralytics")
    before = watched()
    rfaconv.register("ultralytics")
    assert watched() != before
    rfaconv.unregister("ultralytics")
    assert watched() == before
    assert not hook.installed()


def test_twice_is_once():
    from ultralytics.nn import tasks

    parse = tasks.parse_model
    rfaconv.register("ultralytics")
    assert tasks.parse_model is parse
    rfaconv.unregister("ultralytics")
    rfaconv.unregister("ultralytics")
    with pytest.raises(KeyError, match="RFAConv"):
        tasks.parse_model(
            {"nc": 1, "backbone": [[-1, 1, "RFAConv", [8, 3, 2]]], "head": []}, 3, False
        )


def test_registration_draws_no_random_numbers():
    rfaconv.unregister("ultralytics")
    torch.manual_seed(3)
    rfaconv.register("ultralytics")
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4), drawn)


def test_plain_networks_are_built_as_before():
    from ultralytics.nn.tasks import DetectionModel

    with_operators = DetectionModel("yolo11n.yaml", verbose=False)
    rfaconv.unregister("ultralytics")
    without = DetectionModel("yolo11n.yaml", verbose=False)
    assert str(with_operators) == str(without)


def test_ultralytics_that_changed(monkeypatch):
    from ultralytics.nn import tasks

    rfaconv.unregister("ultralytics")
    before = dict(vars(tasks))
    other = lambda d, ch, verbose=True: (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), [])  # noqa: E731
    monkeypatch.setattr(tasks, "parse_model", other)
    with pytest.raises(IntegrationError, match=r"has changed.*TRAINERS"):
        rfaconv.register("ultralytics")
    monkeypatch.undo()
    assert dict(vars(tasks)) == before


@pytest.mark.parametrize(
    ("found", "said"), [("8.1.47", "too old, 8.3.0 or newer"), (None, "AGPL-3.0")]
)
def test_too_old_or_missing(monkeypatch, found, said):
    def lookup(name):
        if found is None:
            raise version.PackageNotFoundError(name)
        return found

    rfaconv.unregister("ultralytics")
    monkeypatch.setattr(version, "version", lookup)
    with pytest.raises(IntegrationError, match=said):
        rfaconv.register("ultralytics")


def test_unknown_library():
    with pytest.raises(InvalidArgument, match="did you mean ultralytics"):
        rfaconv.register("ultralytic")
    with pytest.raises(InvalidArgument, match="library: expected one of ultralytics"):
        rfaconv.unregister("timm")


def test_importing_rfaconv_imports_no_ultralytics():
    code = "import rfaconv, rfaconv.integrations, sys; assert 'ultralytics' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
