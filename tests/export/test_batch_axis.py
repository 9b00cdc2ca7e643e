"""What runtimes without a batch axis ask of a graph."""

from __future__ import annotations

import warnings

import pytest
import torch

from rfaconv import nn
from rfaconv.export.prepare import prepare
from rfaconv.variants import OPERATORS

LAYERS = {
    "rfa": nn.RFAConv2d,
    "rfcbam": nn.RFCBAMConv2d,
    "rfca": nn.RFCAConv2d,
    "cam": nn.CAMConv2d,
    "cbam": nn.CBAMConv2d,
    "ca": nn.CAConv2d,
}


@pytest.mark.parametrize("shaped", [True, False])
@pytest.mark.parametrize("operator", OPERATORS)
def test_no_graph_joins_along_the_batch(operator, shaped):
    """ncnn drops the batch axis: what is stacked along it becomes another shape there, and a
    linear layer behind it reads past its weights.
    """
    layer = prepare(LAYERS[operator](8, 6, 3), shaped=shaped, runtime="ncnn")
    program = torch.export.export(layer, (torch.zeros(1, 8, 9, 9),))
    joins = [n for n in program.graph.nodes if "cat" in str(n.target) or "stack" in str(n.target)]
    axes = [n.args[1] if len(n.args) > 1 else 0 for n in joins]
    assert 0 not in axes, joins


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_map_of_a_form_has_more_than_four_axes(operator):
    """ncnn takes four with the batch, XNNPACK six."""
    layer = prepare(LAYERS[operator](8, 6, 3), runtime="ncnn")
    program = torch.export.export(layer, (torch.zeros(1, 8, 9, 9),))
    ranks = [n.meta["val"].dim() for n in program.graph.nodes if hasattr(n.meta.get("val"), "dim")]
    assert max(ranks) <= 4


@pytest.mark.parametrize("operator", [o for o in OPERATORS if o != "rfcbam"])
def test_a_traced_layer_has_no_more_axes_than_its_gates(operator):
    """(B, C, T, H, W): ultralytics hands the traced layers to ncnn as they are."""
    layer = LAYERS[operator](8, 6, 3, stride=2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that tracing is old
        graph = torch.jit.trace(layer, torch.zeros(1, 8, 9, 9)).inlined_graph
    found = [value for node in graph.nodes() for value in node.outputs()]
    ranks = [v.type().dim() for v in found if v.type().kind() == "TensorType"]
    assert max(rank for rank in ranks if rank is not None) <= 5


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_traced_layer_has_no_operation_that_core_ml_lacks(operator):
    """coremltools knows new_full and new_zeros, and not new_ones."""
    layer = LAYERS[operator](8, 6, 3).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that tracing is old
        graph = torch.jit.trace(layer, torch.zeros(1, 8, 9, 9)).inlined_graph
    assert "aten::new_ones" not in {node.kind() for node in graph.nodes()}
