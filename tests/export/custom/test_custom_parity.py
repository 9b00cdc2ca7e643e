"""The custom operators give PyTorch's results, at every size, batch and number of threads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from timm.models.resnet import BasicBlock
from torch import nn

from rfaconv.export.custom import export_onnx_custom, session
from rfaconv.models import AttentionResNet
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d

pytestmark = pytest.mark.usefixtures("operators")


def quiet_session(path: Path, threads: int) -> Any:
    """Its idle threads do not spin: they would take the processors from the other tests."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return session(path, threads=threads, options=options)


class Layers(nn.Module):
    """Every geometry of one operator on one input."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                kind(5, 7, 3),
                kind(5, 64, 3, stride=2, bias=False),
                kind(5, 7, 1),
                kind(5, 7, 5, stride=(1, 2)),
                kind(5, 7, 3, padding=4, dilation=2),
                kind(5, 7, 3, padding=(7, 3), stride=2),
                kind(5, 7, 3, padding_mode="reflect"),
                nn.Sequential(kind(5, 7, 3), nn.BatchNorm2d(7), nn.ReLU()),
                nn.Sequential(kind(5, 7, 3, bias=False), nn.BatchNorm2d(7)),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


@pytest.mark.parametrize("kind", [RFAConv2d, RFCBAMConv2d, RFCAConv2d])
def test_layers_at_every_size(
    kind: Any, tmp_path: Path, liven: Callable[..., Any], assert_close: Callable[..., None]
) -> None:
    module = liven(Layers(kind))
    path = export_onnx_custom(module, torch.randn(2, 5, 12, 11), tmp_path / "layers.onnx")
    kinds = Counter((node.domain, node.op_type) for node in onnx.load(path).graph.node)
    assert kinds["rfaconv", kind.__name__.removesuffix("2d")] == 9
    assert kinds["", "BatchNormalization"] == 0
    sizes = [(1, 12, 11), (2, 12, 11), (3, 7, 9), (1, 5, 6), (5, 24, 17), (1, 33, 40)]
    # without the library the definitions in the file run
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    composite = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for opened in (composite, *(quiet_session(path, n) for n in (1, 2, 7))):
        for batch, height, width in sizes:
            x = torch.randn(batch, 5, height, width)
            with torch.inference_mode():
                expected = module(x)
            for got, wanted in zip(opened.run(None, {"x": x.numpy()}), expected, strict=True):
                assert_close(got, wanted)


def test_network_has_norm_and_relu_inside_the_nodes(
    tmp_path: Path, liven: Callable[..., Any], assert_close: Callable[..., None]
) -> None:
    model = liven(AttentionResNet("rfa", BasicBlock, (2, 1, 1, 1), num_classes=7))
    path = export_onnx_custom(model, torch.randn(1, 3, 64, 64), tmp_path / "network.onnx")
    graph = onnx.load(path).graph
    ours = [node for node in graph.node if node.domain == "rfaconv"]
    assert len(ours) == 5
    assert all(a.i == 1 for node in ours for a in node.attribute if a.name == "relu")
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    opened = session(path, threads=2)
    for shape in [(1, 3, 64, 64), (3, 3, 97, 65)]:
        x = torch.randn(shape)
        with torch.inference_mode():
            assert_close(opened.run(None, {"x": x.numpy()})[0], model(x))


def test_relu_that_is_not_alone_stays_outside(
    tmp_path: Path, liven: Callable[..., Any], assert_close: Callable[..., None]
) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = RFAConv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            return y.relu() - 2 * y

    model = liven(Both())
    path = export_onnx_custom(model, torch.randn(1, 3, 8, 8), tmp_path / "both.onnx")
    x = torch.randn(2, 3, 9, 7)
    with torch.inference_mode():
        assert_close(session(path, threads=1).run(None, {"x": x.numpy()})[0], model(x))


def test_sessions_at_once_and_empty_batch(tmp_path: Path, liven: Callable[..., Any]) -> None:
    model = liven(RFCBAMConv2d(16, 24, 3))
    path = export_onnx_custom(model, torch.randn(1, 16, 20, 20), tmp_path / "layer.onnx")
    sessions = [session(path, threads=n) for n in (1, 2, 3)]
    inputs = [torch.randn(n, 16, 21, 19) for n in (1, 2, 3, 5)]
    with torch.inference_mode():
        expected = [model(x).numpy() for x in inputs]

    def work(i: int) -> float:
        got = sessions[i % 3].run(None, {"x": inputs[i % 4].numpy()})[0]
        return float(np.abs(got - expected[i % 4]).max())

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(120))) < 1e-5
    empty = sessions[1].run(None, {"x": np.zeros((0, 16, 21, 19), np.float32)})[0]
    assert empty.shape == (0, 24, 21, 19)


def test_not_a_number_passes_through(tmp_path: Path, liven: Callable[..., Any]) -> None:
    model = liven(nn.Sequential(RFAConv2d(3, 4, 3), nn.ReLU()))
    path = export_onnx_custom(model, torch.randn(1, 3, 8, 8), tmp_path / "nan.onnx")
    x = np.ones((1, 3, 8, 8), np.float32)
    x[0, 1, 2, 3] = np.nan
    got = session(path, threads=1).run(None, {"x": x})[0]
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))


def test_library_wins_over_the_definition(operators: Path, tmp_path: Path) -> None:
    model = RFAConv2d(3, 4, 3).eval()
    path = export_onnx_custom(model, torch.randn(1, 3, 8, 8), tmp_path / "layer.onnx")
    kinds = {}
    for name in ("library", "definition"):
        options = onnxruntime.SessionOptions()
        if name == "library":
            options.register_custom_ops_library(str(operators))
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / name)
        opened = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        opened.run(None, {"x": np.zeros((1, 3, 6, 5), np.float32)})
        events = json.loads(Path(opened.end_profiling()).read_text(encoding="utf-8"))
        kinds[name] = {e["args"]["op_name"] for e in events if e["name"].endswith("kernel_time")}
    assert "RFAConv" in kinds["library"] and "Softmax" not in kinds["library"]
    assert "RFAConv" not in kinds["definition"] and "Softmax" in kinds["definition"]
