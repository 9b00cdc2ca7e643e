"""What cannot work is refused with the reason: no crash, no file half written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rfaconv.backends.cpu import library
from rfaconv.errors import BackendUnavailable, InvalidArgument
from rfaconv.export.custom import custom_forms, export_onnx_custom, library_path, session
from rfaconv.nn import RFAConv2d

GOOD: dict[str, Any] = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "relu": 0}


def constants(kernel: int = 3, channels: int = 2) -> dict[str, np.ndarray]:
    taps = kernel * kernel
    return {
        "weight": np.ones((4, channels, kernel, kernel), np.float32),
        "feature_weight": np.ones((channels, taps, taps), np.float32),
        "feature_bias": np.zeros((channels, taps), np.float32),
        "attention_weight": np.zeros((channels, taps), np.float32),
        "bias": np.zeros(4, np.float32),
    }


def write(path: Path, values: dict[str, np.ndarray], attributes: dict[str, Any]) -> Path:
    node = helper.make_node(
        "RFAConv", ["x", *values], ["y"], name="first", domain="rfaconv", **attributes
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "c", "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("rfaconv", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strides": [0, 1]}, "attribute strides: expected 2 integers, each at least 1, got 0"),
        ({"strides": [1, 1, 1]}, "attribute strides: expected 2 integers, .* got 3"),
        ({"strides": None}, "attribute strides: expected 2 integers"),
        ({"strides": [1.0, 1.0]}, "attribute strides: expected 2 integers"),
        ({"pads": [1, 1]}, "attribute pads: expected 4 integers, .* got 2"),
        ({"pads": [-1, 0, 0, 0]}, "attribute pads: .* at least 0, got -1"),
        ({"dilations": [1, 1 << 40]}, "attribute dilations: .* got 1099511627776"),
        ({"relu": 2}, "attribute relu: expected 0 or 1, got 2"),
        ({"relu": None}, "attribute relu: expected 0 or 1"),
    ],
)
def test_bad_attribute(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    attributes = {k: v for k, v in {**GOOD, **changed}.items() if v is not None}
    path = write(tmp_path / "bad.onnx", constants(), attributes)
    with pytest.raises(Exception, match=f"rfaconv.RFAConv first: {message}"):
        session(path, threads=1)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        ({}, (1, 3, 8, 8), r"weight: expected shape \(4, 3, 3, 3\), got \(4, 2, 3, 3\)"),
        ({}, (1, 2, 8, 0), "x: expected a map that the window fits"),
        ({"feature_weight": np.ones((2, 9), np.float32)}, (1, 2, 8, 8), "feature_weight: expected"),
        ({"feature_bias": np.ones((2, 8), np.float32)}, (1, 2, 8, 8), "feature_bias: expected"),
        ({"attention_weight": np.ones(9, np.float32)}, (1, 2, 8, 8), "attention_weight: expected"),
        ({"bias": np.ones(3, np.float32)}, (1, 2, 8, 8), r"bias: expected shape \(4\), got \(3\)"),
        ({"weight": np.ones((4, 2), np.float32)}, (1, 2, 8, 8), "weight: expected four dim"),
        (constants(kernel=2), (1, 2, 8, 8), "these kernels do not cover"),
        (constants(kernel=5), (1, 2, 1, 1), "x: expected a map that the window fits"),
    ],
)
def test_bad_input(
    values: dict[str, np.ndarray], shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.onnx", {**constants(), **values}, GOOD)
    opened = session(path, threads=2)
    with pytest.raises(Exception, match=f"rfaconv.RFAConv first: {message}"):
        opened.run(None, {"x": np.ones(shape, np.float32)})


@pytest.mark.usefixtures("operators")
def test_bad_threads(tmp_path: Path, operators: Path) -> None:
    path = write(tmp_path / "good.onnx", constants(), GOOD)
    with pytest.raises(InvalidArgument, match="threads: expected"):
        session(path, threads=0)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("rfaconv.threads", "many")
    with pytest.raises(Exception, match=r"rfaconv\.threads: expected a positive number"):
        options.register_custom_ops_library(str(operators))


def test_missing_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, assert_close: Callable[..., None]
) -> None:
    layer = RFAConv2d(3, 4, 3).eval()
    path = export_onnx_custom(layer, torch.randn(1, 3, 8, 8), tmp_path / "layer.onnx")
    monkeypatch.setattr(library, "folders", lambda: (tmp_path,))
    with pytest.raises(BackendUnavailable, match=r"was not built; reinstall .*cmake"):
        library_path()
    with pytest.raises(BackendUnavailable, match="was not built"):
        session(path, require=True)
    with pytest.warns(UserWarning, match=r"was not built; .* the composite graph runs"):
        opened = session(path, threads=1)
    x = torch.randn(2, 3, 7, 5)
    with torch.inference_mode():
        assert_close(opened.run(None, {"x": x.numpy()})[0], layer(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (RFAConv2d(4, 4, 3, groups=2).eval(), "groups of layer: expected 1"),
        (RFAConv2d(4, 4, 7).eval(), "kernel_size of layer: expected 1, 3 or 5"),
        (RFAConv2d(4, 4, 3).double().eval(), "dtype of layer: expected float32"),
        (RFAConv2d(4, 4, 3), "module: expected a module in evaluation mode"),
        (nn.Conv2d(4, 4, 3).eval(), "module: expected a network with RFAConv2d"),
    ],
)
def test_layer_that_has_no_node(layer: nn.Module, message: str, tmp_path: Path) -> None:
    network = nn.Sequential()
    network.add_module("layer", layer)
    network.training = layer.training
    path = tmp_path / "never.onnx"
    with pytest.raises(InvalidArgument, match=message):
        export_onnx_custom(network, torch.randn(1, 4, 9, 9), path)
    assert not list(tmp_path.iterdir())


def test_bad_arguments_of_the_export(tmp_path: Path) -> None:
    layer, x = RFAConv2d(4, 4, 3).eval(), torch.randn(1, 4, 9, 9)
    with pytest.raises(InvalidArgument, match=r"example: expected a float32 tensor \(B, C, H, W\)"):
        export_onnx_custom(layer, x.double(), tmp_path / "a.onnx")
    with pytest.raises(InvalidArgument, match="path: expected a file in a folder that exists"):
        export_onnx_custom(layer, x, tmp_path / "nowhere" / "a.onnx")
    with pytest.raises(InvalidArgument, match="opset: expected 18 or newer, got 17"):
        export_onnx_custom(layer, x, tmp_path / "a.onnx", opset=17)
    with pytest.raises(InvalidArgument, match=r"module: expected a torch\.nn\.Module, got a str"):
        export_onnx_custom("layer", x, tmp_path / "a.onnx")  # type: ignore[arg-type]


def test_export_leaves_the_network_alone(liven: Callable[..., Any]) -> None:
    model = liven(nn.Sequential(RFAConv2d(3, 4, 3)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    custom_forms(model)
    assert before.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_serving_process_needs_no_torch(operators: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "good.onnx", constants(), GOOD)
    code = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(sys.argv[1])
s = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
print(s.run(None, {"x": numpy.ones((2, 2, 5, 6), "f4")})[0].shape, "torch" in sys.modules)
print(sum("libgomp" in line for line in open("/proc/self/maps")))
"""
    command = [sys.executable, "-c", code, str(operators), str(path)]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, env=clean, timeout=60, encoding="utf-8")
    assert done.stdout.split("\n")[:2] == ["(2, 4, 5, 6) False", "0"], done.stderr
