"""register and unregister: what changes in ultralytics, what comes back, what is said."""

from __future__ import annotations

import ast
import copy
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rfaconv
from rfaconv.errors import InvalidArgument
from rfaconv.integrations import IntegrationError
from rfaconv.integrations.ultralytics import hook, version


def watched():
    """Every attribute of every module and class of ultralytics and thop, and torch's safe list."""
    import ultralytics.engine.model
    import ultralytics.nn.tasks  # noqa: F401
    from ultralytics.utils.callbacks.base import default_callbacks

    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("ultralytics", "thop") and module is not None:
            found[name] = dict(vars(module))
            for key, value in vars(module).items():
                if isinstance(value, type) and value.__module__ == name:
                    found[name, key] = {k: v for k, v in vars(value).items() if k != "__doc__"}
                elif isinstance(value, dict | list | set):
                    found[name, key] = copy.copy(value)
    found["callbacks"] = {key: list(value) for key, value in default_callbacks.items()}
    found["safe"] = set(map(str, torch.serialization.get_safe_globals()))
    return found


def different(before, after):
    """Which of the attributes that were there, by identity or value, are not the same."""
    names = {name for name in before if name not in after}
    for name, values in before.items():
        now = after.get(name, {})
        if isinstance(values, dict):
            keys = values.keys() | now.keys()
            missing = object()
            names |= {
                (name, key)
                for key in keys
                if (a := values.get(key, missing)) is not (b := now.get(key, missing))
                and not (isinstance(a, list | dict | set) and a == b)
            }
        elif values != now:
            names.add(name)
    # modules that were imported meanwhile are no change of what was there
    return {n for n in names if not (isinstance(n, tuple) and f"{n[0]}.{n[1]}" in sys.modules)}


def files():
    import ultralytics

    folder = Path(ultralytics.__file__).parent
    return {
        p: hashlib.sha256(p.read_bytes()).digest()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    }


def test_unregister_leaves_everything_as_it_was(tmp_path):
    """Byte for byte and attribute for attribute, also after networks were built and saved."""
    from ultralytics import YOLO

    YOLO("yolov8n-rfa.yaml")  # imports what building imports
    rfaconv.unregister("ultralytics")
    before, bytes_before = watched(), files()
    rfaconv.register("ultralytics")
    assert different(before, watched())
    YOLO("yolo11n-rfa-seg-all.yaml").save(tmp_path / "model.pt")
    # a head's class remembers the form of the network built last: ultralytics' own doing
    rfaconv.unregister("ultralytics")
    YOLO("yolov8n.yaml")
    # and copying an object caches the names of its slots in its class: python's
    left = {n for n in different(before, watched()) if n[-1] not in ("legacy", "__slotnames__")}
    assert left == set()
    assert files() == bytes_before
    assert not hook.installed()


def test_there_is_no_circle_of_imports():
    """Of modules of this package, imports inside functions included."""
    folder = Path(hook.__file__).parent
    package = "rfaconv.integrations.ultralytics"
    imports = {}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
                rest = node.module.removeprefix(package).lstrip(".")
                found |= {rest} if rest else {alias.name for alias in node.names}
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
                name = getattr(node.args[0], "value", "")
                if str(name).startswith(package + "."):
                    found.add(name.removeprefix(package + "."))
        imports[path.stem] = {f for f in found if (folder / f"{f}.py").exists()}

    def reach(name, seen):
        for other in imports[name] - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    assert {name for name in imports if name in reach(name, set())} == set()


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
