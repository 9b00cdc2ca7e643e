"""``rfaconv export``: what it writes, what it prints, and what it refuses before it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from rfaconv.cli.main import main
from rfaconv.export import Source, load_exported, save_pretrained
from rfaconv.lab import load_source
from rfaconv.lab.networks.classifiers import build_network

pytest.importorskip("onnxruntime")

SIZE = 24
CLASSES = ("sea", "wälder", "ice")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a small network of three classes."""
    torch.manual_seed(0)
    network = build_network("small", "rfa", classes=3, channels=3, image_size=SIZE, seed=0)
    with torch.no_grad():
        for _ in range(20):  # statistics that differ from those that a network starts with
            network(torch.rand(8, 3, SIZE, SIZE))
    source = Source(
        network.eval(), "small", (SIZE, SIZE), 3, CLASSES, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1),
        "fitted_resnet", {"layout": "small", "operator": "rfa", "image_size": SIZE, "bias": False},
    )  # fmt: skip
    return str(save_pretrained(source, tmp_path_factory.mktemp("model") / "small"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        (folder / str(index % 2)).mkdir(exist_ok=True)
        save_image(torch.rand(3, 40, 30), folder / str(index % 2) / f"{index}.png")
    return str(folder)


def run(model: str, out: Path, *options: str) -> int:
    """The legacy exporter: the other takes seconds for a network."""
    return main(["export", model, "--out", str(out), "--exporter", "legacy", *options])


def difference(path: Path, model: str) -> float:
    """Of the file from PyTorch, relative, at a size and a batch that the export did not see."""
    x = torch.randn(3, 3, SIZE + 5, SIZE + 2)
    with torch.no_grad():
        expected = load_source(model).network.eval()(x)
    return float((load_exported(path, threads=1)(x) - expected).abs().max() / expected.abs().max())


def test_a_file_with_its_metadata(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "a.onnx"
    assert run(model, out, "--opset", "19", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == [str(out)]
    assert report["bytes"] == out.stat().st_size
    assert list(tmp_path.iterdir()) == [out]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found == report["metadata"]
    assert json.loads(found["rfaconv.classes"]) == list(CLASSES)
    assert json.loads(found["rfaconv.mean"]) == [0.5, 0.4, 0.3]
    assert json.loads(found["rfaconv.input_size"]) == [SIZE, SIZE]
    assert (found["rfaconv.opset"], found["rfaconv.dtype"]) == ("19", "float32")
    assert difference(out, model) <= 1e-5


def test_the_check_is_saved_beside_the_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.onnx"
    assert run(model, out, "--check", "--threads", "1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)["check"]
    saved = json.loads((tmp_path / "a.onnx.check.json").read_text(encoding="utf-8"))
    assert printed == saved
    assert saved["passed"]
    assert {tuple(case["size"]) for case in saved["cases"]} == {(24, 24), (37, 31), (24, 56)}
    assert {case["batch"] for case in saved["cases"]} == {1, 2, 5}
    assert all(case["ms"] > 0 and case["torch_ms"] > 0 for case in saved["cases"])


def test_a_file_that_differs_fails_the_check(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rfaconv.export import check

    def other(path: Path, network: torch.nn.Module, **settings: object) -> dict:
        with torch.no_grad():
            next(network.parameters()).mul_(1.5)
        return check(path, network, **settings)

    monkeypatch.setattr("rfaconv.export.check", other)
    assert run(model, tmp_path / "a.onnx", "--check", "--fixed") == 1
    assert "differs from PyTorch" in " ".join(capsys.readouterr().err.split())


def test_fixed_sizes_are_those_of_the_options(model: str, tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    assert run(model, out, "--fixed", "--batch", "2", "--size", "32") == 0
    function = load_exported(out, threads=1)
    assert function(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(Exception, match="dimensions"):
        function(torch.rand(2, 3, 24, 24))


def test_weights_in_a_file_beside(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.onnx"
    assert run(model, out, "--external-data", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    data = tmp_path / "a.onnx.data"
    assert report["files"] == [str(data), str(out)]
    assert data.stat().st_size > 4 * out.stat().st_size / 5
    assert difference(out, model) <= 1e-5


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_float16(target: str, model: str, tmp_path: Path) -> None:
    pytest.importorskip(target)
    name = {"onnx": "a.onnx", "openvino": "a.xml"}[target]
    for dtype in ("float32", "float16"):
        (tmp_path / dtype).mkdir()
        assert run(model, tmp_path / dtype / name, "--to", target, "--dtype", dtype) == 0
    assert 0 < difference(tmp_path / "float16" / name, model) <= 1e-2
    weights = "a.onnx" if target == "onnx" else "a.bin"
    plain, half = ((tmp_path / dtype / weights).stat().st_size for dtype in ("float32", "float16"))
    assert half < 0.75 * plain


@pytest.mark.nightly
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_int8(target: str, model: str, pictures: str, tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "onnx", "openvino": "nncf"}[target])
    name = {"onnx": "a.onnx", "openvino": "a.xml"}[target]
    plain, small = tmp_path / f"plain-{name}", tmp_path / name
    assert run(model, plain, "--to", target) == 0
    assert run(model, small, "--to", target, "--int8", "--calibration", pictures) == 0
    assert 0 < difference(small, model) <= 0.3
    ending = ".onnx" if target == "onnx" else ".bin"
    assert small.with_suffix(ending).stat().st_size < 0.7 * plain.with_suffix(ending).stat().st_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "tensorrt"], "to: expected"),
        (["--int8"], "calibration: expected a folder of pictures"),
        (["--calibration", "."], "calibration: expected a folder of pictures"),
        (["--dtype", "bfloat16"], "dtype: expected float32 or float16 or int8 for onnx"),
        (["--opset", "17"], "opset: expected 18 to 23, got 17"),
        (["--exporter", "old"], "exporter"),
        (["--size", "0"], "size: expected 1 or more"),
        (["--fixed", "--batch", "0"], "batch: expected 1 or more"),
    ],
)
def test_bad_options_write_nothing(
    options: list[str], message: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, tmp_path / "a.onnx", *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_calibration_pictures_that_are_none(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, damaged = tmp_path / "empty", tmp_path / "damaged"
    empty.mkdir()
    damaged.mkdir()
    (damaged / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    for folder, message in ((empty, "none in"), (damaged, "a.png")):
        assert run(model, tmp_path / "a.onnx", "--int8", "--calibration", str(folder)) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


def test_an_unknown_network_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rfa_resnet19", tmp_path / "a.onnx") == 2
    assert "did you mean rfa_resnet18" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_by_force(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.onnx"
    out.write_bytes(b"mine")
    assert run(model, out) == 2
    assert "out: expected a file that does not exist" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert run(model, out, "--force") == 0
    assert difference(out, model) <= 1e-5
    assert run(model, tmp_path / "none" / "a.onnx") == 2
