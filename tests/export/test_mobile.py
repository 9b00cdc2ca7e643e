"""Targets of fixed size: refusals everywhere, files where their packages are installed."""

from __future__ import annotations

import importlib.util

import pytest

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.export import export, load_exported
from rfaconv.export.targets import TARGETS
from rfaconv.variants import OPERATORS

FILES = {
    "executorch": ("file.pte", "executorch"),
    "litert": ("file.tflite", "litert_torch"),
    "ncnn": ("file.ncnn.param", "pnnx"),
    "coreml": ("file.mlpackage", "coremltools"),
}


@pytest.mark.parametrize("target", FILES)
def test_what_a_fixed_size_refuses(target, block, tmp_path):
    for settings, argument in (
        ({"dynamic": True}, "dynamic"),
        ({"dtype": "float16"}, "dtype"),
        ({"batch": 0}, "batch"),
    ):
        with pytest.raises(InvalidArgument, match=f"^{argument}:"):
            export(block("rfa"), tmp_path / FILES[target][0], target, **settings)
    assert list(tmp_path.iterdir()) == []
    assert TARGETS[target].fixed


def test_ncnn_takes_one_picture(block, tmp_path):
    with pytest.raises(InvalidArgument, match="batch: expected 1: files of ncnn take one picture"):
        export(block("rfa"), tmp_path / "file.ncnn.param", "ncnn", batch=2)


@pytest.mark.parametrize("target", FILES)
def test_a_missing_package_is_named(target, tmp_path, capsys):
    package = FILES[target][1]
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    pytest.importorskip("timm")
    words = ["export", "rfa_resnet18", "--to", target, "--size", "32"]
    assert main([*words, "--out", str(tmp_path / FILES[target][0])]) == 2
    said = capsys.readouterr().err
    assert f"pip install {package.replace('_', '-')}" in said
    assert said.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_core_ml_cannot_be_checked_here(capsys):
    assert main(["export", "rfa_resnet18", "--to", "coreml", "--check"]) == 2
    assert "only macOS" in capsys.readouterr().err


@pytest.mark.parametrize("target", [name for name in FILES if name != "coreml"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_equal_to_pytorch(operator, target, block, assert_equal, tmp_path):
    name, package = FILES[target]
    pytest.importorskip(package)
    source = block(operator)
    made = export(source, tmp_path / name, target)
    run = load_exported(made.path, threads=1)
    assert_equal(run, source.network, [(1, *source.input_size)])


@pytest.mark.parametrize("operator", OPERATORS)
def test_core_ml_converts(operator, block, tmp_path):
    coremltools = pytest.importorskip("coremltools")
    made = export(block(operator), tmp_path / "file.mlpackage", "coreml")
    spec = coremltools.utils.load_spec(str(made.path))
    assert spec.specificationVersion >= 6
    assert spec.description.metadata.userDefined["rfaconv.name"] == operator
