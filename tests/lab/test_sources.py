"""One idea of a model: every word that a user has for one, and what is said of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_own_images import classes, masks, picture, squares

import rfaconv.models
from rfaconv.cli.eval import _show
from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.export import export, save_pretrained
from rfaconv.export.source import Source
from rfaconv.lab import load_source
from rfaconv.lab.judging import judge, read_truth
from rfaconv.lab.networks.segmenters import build_segmenter
from rfaconv.lab.predict import save_predictor
from rfaconv.lab.predictors import open_predictor
from rfaconv.lab.sources import identify

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def small() -> torch.nn.Module:
    assert rfaconv.models.MODEL_NAMES
    return timm.create_model("fitted_resnet", operator="rfa", num_classes=2, image_size=32).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network that was saved with its own size and normalisation."""
    source = Source(small(), "net", (32, 32), 3, ("nothing", "square"), MEAN, STD,
                    "fitted_resnet", {"operator": "rfa", "image_size": 32})  # fmt: skip
    save_pretrained(source, tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize(
    "target",
    [None, ("torchscript", "net.torchscript"),
     *(pytest.param(t, marks=pytest.mark.nightly)
       for t in (("onnx", "net.onnx"), ("openvino", "net.xml"), ("torch-export", "net.pt2")))],
)  # fmt: skip
def test_the_same_network_by_every_word(
    target: tuple[str, str] | None, folder: Path, tmp_path: Path
) -> None:
    image = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    source = load_source(folder)
    with torch.no_grad():
        x = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        expected = source.network.eval()(x[None]).softmax(1)[0]
    words = [folder, folder / "model.safetensors"]
    if target is not None:
        pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}.get(target[0], "torch"))
        export(source, tmp_path / target[1], target[0])
        words = [tmp_path / target[1]]
    for word in words:
        predictor = open_predictor(word)
        assert (predictor.task, predictor.names) == ("classify", ("nothing", "square"))
        found = dict(predictor.find(image).classes)
        assert [found[n] for n in predictor.names] == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_normalisation_of_a_file_is_its_own(tmp_path: Path) -> None:
    assert rfaconv.models.MODEL_NAMES
    image = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    x = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    about = {"task": "classify", "kind": "timm", "backbone": "rfa_resnet18"}
    network = timm.create_model("rfa_resnet18", num_classes=2).eval()
    file = tmp_path / "own.safetensors"
    save_predictor(file, network, names=["a", "b"], size=32, mean=MEAN, std=STD, **about)
    with torch.no_grad():
        expected = network(x[None]).softmax(1)[0]
    found = dict(open_predictor(file).find(image).classes)
    assert [found["a"], found["b"]] == pytest.approx(expected.tolist(), abs=1e-4)
    assert load_source(file).mean == MEAN


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.mkdir(), "an empty folder"),
        (lambda p: (p / "b").mkdir(parents=True), "a folder with b"),
        (lambda p: p.with_suffix(".onnx"), "which does not exist"),
        (lambda p: p.write_text("x", encoding="utf-8"), "a file of none of these endings"),
        (lambda p: p, "which does not exist"),
    ],
)
def test_what_was_found_is_said(make, said: str, tmp_path: Path) -> None:
    made = make(tmp_path / "what")
    path = made if isinstance(made, Path) else tmp_path / "what"
    with pytest.raises(InvalidArgument, match=f"model: expected a run of rfaconv train.*{said}"):
        identify(path)


def test_refusals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs/weights").mkdir(parents=True)
    (tmp_path / "runs/weights/best.pt").write_bytes(b"")
    with pytest.raises(InvalidArgument, match=r"rfaconv yolo export model=.*best.pt"):
        load_source(tmp_path / "runs")
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(InvalidArgument, match=r"a network of PyTorch, got .*an exported file"):
        load_source(tmp_path / "net.onnx")
    with pytest.raises(InvalidArgument, match="model: expected a file of rfaconv export, got"):
        open_predictor(tmp_path / "net.onnx")
    with pytest.raises(InvalidArgument, match="a trained network"):
        open_predictor("rfa_resnet18")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert main(["predict", str(tmp_path / "other.safetensors"), str(folder)]) == 2
    assert main(["eval", str(folder)]) == 2
    assert "--data FOLDER" in capsys.readouterr().err


def test_eval_of_a_folder_and_of_a_file(folder: Path, tmp_path: Path, capsys) -> None:
    classes(tmp_path / "own", ("train", "val"))
    assert main(["eval", str(folder), "--data", str(tmp_path / "own"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    truth, predictor = read_truth(tmp_path / "own"), open_predictor(folder)
    right = sum(
        predictor.find(truth.image(i)).classes[0][0] == truth.classes[truth.answer(i)]
        for i in range(len(truth.names))
    )
    assert value["top1"] == right / value["images"] and value["top5"] == 1
    assert [len(row) for row in value["confusion"]] == [2, 2]
    with pytest.raises(InvalidArgument, match=r"the classes .*0"):
        judge(folder, "digits")


def test_eval_passes_over_what_cannot_be_decoded(folder: Path, tmp_path: Path, capsys) -> None:
    own = tmp_path / "own"
    classes(own, ("train", "val"))
    (own / "val/square/my pic 0.png").write_text("none", encoding="utf-8")
    (own / "val/square/photo.heic").write_text("none", encoding="utf-8")
    assert main(["eval", str(folder), "--data", str(own), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["images"] == 11
    assert ["photo.heic: not" in p or "my pic 0.png: cannot" in p for p in value["problems"]] == (
        [True, True]
    )
    assert main(["eval", str(folder), "--data", str(own)]) == 0
    assert "passed over: " in capsys.readouterr().err
    for file in (own / "val").rglob("*.png"):
        file.write_text("none", encoding="utf-8")
    assert main(["eval", str(folder), "--data", str(own)]) == 2
    assert "data: expected an image that can be decoded" in capsys.readouterr().err


def test_eval_shows_classes_by_their_whole_names(folder: Path, tmp_path: Path, capsys) -> None:
    value = {"task": "classify", "classes": ["[old] cat", "[/b]"], "per_class": [0.5, None],
             "images": 2, "top1": 0.5}  # fmt: skip
    _show(value, ", [x]")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[old] cat", "[/b]", "[x]"))


def test_eval_of_masks_and_boxes(tmp_path: Path) -> None:
    network = build_segmenter("unet", "resnet18", 2, width=0.25)
    with torch.no_grad():  # a network that sees the background everywhere
        head = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1.0, 0.0]))
    masks(tmp_path / "own")
    file = tmp_path / "net.safetensors"
    about = {"task": "segment", "kind": "unet", "backbone": "resnet18", "width": 0.25}
    save_predictor(file, network, names=["background", "class 1"], **about)
    value = judge(file, tmp_path / "own")
    background = 1 - 28 * 28 / 64**2
    assert value["pixel_accuracy"] == pytest.approx(background)
    assert value["per_class"] == pytest.approx([background, 0.0])
    classes(tmp_path / "classes")
    with pytest.raises(InvalidArgument, match="segment with images to classify"):
        judge(file, tmp_path / "classes")


def test_images_without_data_set(tmp_path: Path) -> None:
    for path, mask, _ in squares(tmp_path, 1):
        picture(path, mask)
    with pytest.raises(InvalidArgument, match="path: expected a folder per class"):
        read_truth(tmp_path)
