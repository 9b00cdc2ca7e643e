"""Every operator in every runtime, at batches and sizes that the export did not see."""

import pytest

from rfaconv.export import export, load_exported

OPERATORS = ("rfa", "rfcbam", "rfca", "cam", "cbam", "ca", "unfold")
FILES = {
    "dynamo": ("onnx", "file.onnx", {}),
    "legacy": ("onnx", "file.onnx", {"exporter": "legacy"}),
    "openvino": ("openvino", "file.xml", {}),
    "torch-export": ("torch-export", "file.pt2", {}),
    "torchscript": ("torchscript", "file.torchscript", {}),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_any_batch_and_size(operator, kind, block, assert_equal, tmp_path):
    target, name, settings = FILES[kind]
    source = block(operator)
    export(source, tmp_path / name, target, **settings)
    assert_equal(load_exported(tmp_path / name, threads=1), source.network)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("kind", FILES)
def test_all_operators_at_a_fixed_size(kind, batch, seven, assert_equal, tmp_path):
    target, name, settings = FILES[kind]
    export(seven, tmp_path / name, target, dynamic=False, batch=batch, **settings)
    run = load_exported(tmp_path / name, threads=1)
    assert_equal(run, seven.network, [(batch, *seven.input_size)])


@pytest.mark.nightly
def test_all_operators_compiled_ahead_of_time(seven, assert_equal, tmp_path):
    export(seven, tmp_path / "file.aoti.pt2", "aoti")
    assert_equal(load_exported(tmp_path / "file.aoti.pt2"), seven.network)
