"""int8: what the trained networks of the repository lose, and weights that overflow nowhere."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from rfaconv.export import export, load_exported
from rfaconv.lab import load_source
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data import Normalize
from rfaconv.lab.recipes import read_recipe

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
FILES = {"onnx": "network.onnx", "openvino": "network.xml"}
LIMIT = 0.5
"""Points of accuracy that int8 may lose."""


def judge(root: Path, target: str, name: str, folder: Path) -> dict[str, float]:
    """Exports in float32 and int8; per cent of the 2000 test pictures that each gets right."""
    recipe = read_recipe("eurosat")
    given = recipe.data.model_copy(update={"root": root})
    data = recipe_data(recipe.model_copy(update={"data": given}))
    normalize = Normalize(data.mean, data.std)
    picked = torch.linspace(0, len(data.train) - 1, 128).round().long().tolist()
    pictures = normalize(data.train.__getitems__(picked)[0]).split(1)
    images, labels = data.val.__getitems__(list(range(len(data.val))))[:2]
    assert len(labels) == 2000
    source, right = load_source(WEIGHTS / name), {}
    for dtype in ("float32", "int8"):
        path = folder / dtype / FILES[target]
        path.parent.mkdir()
        export(source, path, target, dtype=dtype, calibration=pictures if dtype == "int8" else ())
        run = load_exported(path, threads=2)
        answers = torch.cat([run(part).argmax(1) for part in normalize(images).split(50)])
        right[dtype] = 100 * (answers == labels).double().mean().item()
    return right


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["eurosat-rfa", "eurosat-conv"])
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_trained_network_keeps_its_accuracy(
    target: str, name: str, shared: Path, tmp_path: Path
) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "nncf"}[target])
    # run in this process, the runtimes' int8 kernels made a later signal (the end of a child) kill
    # it on a processor with AMX: they get a process of their own
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        right = pool.submit(judge, shared / "data", target, name, tmp_path).result()
    assert right["float32"] > 90
    assert right["float32"] - right["int8"] <= LIMIT


def test_onnx_weights_have_seven_bits(block, tmp_path: Path) -> None:
    """Two products of 8 by 8 bits overflow the 16 in which processors without VNNI add them."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    pictures = [torch.randn(1, 3, 12, 15) for _ in range(4)]
    for operator in ("rfa", "cbam"):
        path = tmp_path / f"{operator}.onnx"
        export(block(operator), path, "onnx", dtype="int8", calibration=pictures)
        graph = onnx.load(path).graph
        tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        makers = {name: node for node in graph.node for name in node.output}
        weights = 0
        for node in graph.node:
            source = makers.get(node.input[1]) if node.op_type == "Conv" else None
            if source is not None and source.op_type == "DequantizeLinear":
                values = tensors[source.input[0]].astype("int32")
                assert 32 < abs(values).max() <= 64
                weights += 1
        assert weights
