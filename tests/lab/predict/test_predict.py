"""The command predict on pictures, folders and videos."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import rfaconv.models
from rfaconv.cli.main import main
from rfaconv.lab.networks.detectors import build_detector
from rfaconv.lab.networks.segmenters import build_segmenter, scores
from rfaconv.lab.predict import Prediction, load_predictor, save_predictor


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        Image.new("RGB", (70, 50), (40 * index, 90, 120)).save(folder / f"{index}.png")
    return folder


def predicted(tmp_path, *words):
    assert main(["predict", *map(str, words), "--out", str(tmp_path / "out")]) == 0
    return json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))


def test_classes(tmp_path, pictures):
    assert "rfa_resnet18" in rfaconv.models.MODEL_NAMES
    network = timm.create_model("rfa_resnet18", num_classes=3)
    weights = tmp_path / "net.safetensors"
    about = {"task": "classify", "kind": "timm", "backbone": "rfa_resnet18"}
    save_predictor(weights, network, names=["a", "b", "c"], size=64, **about)
    found = predicted(tmp_path, weights, pictures / "0.png")
    (entry,) = found["pictures"]
    assert sum(c["score"] for c in entry["classes"]) == pytest.approx(1, abs=1e-4)
    assert entry["size"] == [70, 50] and entry["frame"] is None
    with Image.open(tmp_path / "out" / entry["drawn"]) as drawn:
        assert drawn.size[0] >= 70 and drawn.size[1] > 50


def test_boxes_of_a_folder(tmp_path, pictures):
    torch.manual_seed(0)
    network = build_detector("fcos", "rfca_resnet18", 2, size=64, channels=64).eval()
    # an untrained detector is sure of nothing
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, 1.0)
    weights = tmp_path / "net.safetensors"
    about = {"task": "detect", "kind": "fcos", "backbone": "rfca_resnet18"}
    save_predictor(weights, network, names=["x", "y"], size=64, channels=64, **about)
    predictor = load_predictor(weights, threshold=0.0)
    image = torch.randint(0, 255, (3, 50, 70), dtype=torch.uint8)
    with torch.no_grad():
        expected = network([image.float() / 255])[0]
    boxes = predictor.find(image).boxes
    seen = expected["labels"] > 0  # an untrained head is sure of the background too
    scores = expected["scores"][seen]
    assert 0 < len(boxes) == len(scores) < len(seen)
    best = int(scores.argmax())
    assert boxes[0][1] == pytest.approx(float(scores[best]))
    assert boxes[0][2] == pytest.approx(expected["boxes"][seen][best].tolist())
    (pictures / "broken.jpg").write_bytes(b"nothing")
    found = predicted(tmp_path, weights, pictures, "--threshold", "0.9")
    assert len(found["pictures"]) == 2 and len(found["skipped"]) == 1
    words = ["predict", str(weights), str(pictures), "--strict", "--out", str(tmp_path / "o")]
    assert main(words) == 2


def test_masks_of_a_video(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for index in range(5):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    network = build_segmenter("unet", "rfa_resnet18", 3)
    weights = tmp_path / "net.safetensors"
    about = {"task": "segment", "kind": "unet", "backbone": "rfa_resnet18"}
    save_predictor(weights, network, names=["a", "b", "c"], **about)
    found = predicted(tmp_path, weights, path, "--every", "2")
    assert [p["frame"] for p in found["pictures"]] == [0, 2, 4]
    assert all(sum(p["mask"].values()) == pytest.approx(1, abs=1e-4) for p in found["pictures"])


def test_masks_at_the_size_of_the_training(tmp_path):
    network = build_segmenter("unet", "resnet18", 3, width=0.25).eval()
    weights = tmp_path / "net.safetensors"
    about = {"task": "segment", "kind": "unet", "backbone": "resnet18", "width": 0.25}
    save_predictor(weights, network, names=["a", "b", "c"], image_size=(32, 64), **about)
    predictor = load_predictor(weights)
    image = torch.randint(0, 255, (3, 96, 80), dtype=torch.uint8)
    small = torch.nn.functional.interpolate(
        image[None].float() / 255, (32, 64), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        expected = torch.nn.functional.interpolate(
            scores(network, small), (96, 80), mode="bilinear"
        )
    mask = predictor.find(image).mask
    assert torch.equal(mask, expected.argmax(1)[0]) and mask.shape == (96, 80)


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path, pictures):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (20, 30)).save(other / "0.png")
    weights = tmp_path / "net.safetensors"
    network = build_segmenter("unet", "resnet18", 2, width=0.25)
    about = {"task": "segment", "kind": "unet", "backbone": "resnet18", "width": 0.25}
    save_predictor(weights, network, names=["a", "b"], **about)
    found = predicted(tmp_path, weights, pictures, other)["pictures"]
    assert [p["drawn"] for p in found] == ["0.png", "1.png", "0-2.png"]
    for entry in found:
        with Image.open(tmp_path / "out" / entry["drawn"]) as drawn:
            factor = drawn.size[0] // entry["size"][0]
            assert drawn.size[0] == factor * entry["size"][0]


@pytest.fixture
def segmenter(tmp_path):
    network = build_segmenter("unet", "resnet18", 2, width=0.25)
    about = {"task": "segment", "kind": "unet", "backbone": "resnet18", "width": 0.25}
    save_predictor(tmp_path / "net.safetensors", network, names=["a", "b"], **about)
    return tmp_path / "net.safetensors"


def test_frames_and_pictures_do_not_overwrite_each_other(tmp_path, segmenter, monkeypatch):
    """A frame is called as a picture may be: a-000000."""

    def two(file, every):
        image = torch.zeros(3, 32, 32, dtype=torch.uint8)
        yield from [(0, image), (1, image)] if file.suffix == ".mp4" else [(None, image)]

    monkeypatch.setattr("rfaconv.lab.predict.frames", two)
    files = [tmp_path / n for n in ("a.mp4", "a.png", "a-000000.png", "b/a.mp4", "A-000001.jpg")]
    (tmp_path / "b").mkdir()
    for file in files:
        file.write_bytes(b"")
    found = predicted(tmp_path, segmenter, *files, files[1])["pictures"]
    drawn = [entry["drawn"] for entry in found]
    assert len({name.casefold() for name in drawn}) == len(drawn) == 7
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == sorted(drawn)


def test_files_of_others_stay(tmp_path, pictures, segmenter, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.PNG").write_bytes(b"mine")
    first = predicted(tmp_path, segmenter, pictures)["pictures"]
    assert [entry["drawn"] for entry in first] == ["0-2.png", "1.png"]
    assert "replaced" not in capsys.readouterr().err
    assert predicted(tmp_path, segmenter, pictures)["pictures"] == first
    said = " ".join(capsys.readouterr().err.split())
    assert f"the predictions that {out} had are replaced" in said
    assert (out / "0.PNG").read_bytes() == b"mine"
    for content in ('{"pictures": 3}', "[]", "mine"):
        (out / "predictions.json").write_text(content, encoding="utf-8")
        assert main(["predict", str(segmenter), str(pictures), "--out", str(out)]) == 2
        assert "out: expected" in capsys.readouterr().err
        assert (out / "predictions.json").read_text(encoding="utf-8") == content


def test_pictures_are_not_replaced_by_their_drawings(tmp_path, pictures, capsys):
    """Neither by predict nor by explain, under whatever name the folder is given."""
    network = timm.create_model("rfa_resnet18", num_classes=2)
    weights = tmp_path / "net.safetensors"
    about = {"task": "classify", "kind": "timm", "backbone": "rfa_resnet18"}
    save_predictor(weights, network, names=["a", "b"], size=32, **about)
    before = {file.name: file.read_bytes() for file in pictures.iterdir()}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "0.png").symlink_to(pictures / "0.png")
    for source in (pictures, pictures / "0.png", tmp_path / "linked"):
        for command in ("predict", "explain"):
            words = [command, str(weights), str(source), "--out", str(tmp_path / "out/../pictures")]
            assert main(words) == 2
            assert "out: expected a folder without the pictures" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in pictures.iterdir()} == before
    for command in ("predict", "explain"):
        assert main([command, str(weights), str(pictures), "--out", str(weights)]) == 2
        assert "out: expected a folder, got" in capsys.readouterr().err


def test_an_image_too_narrow_does_not_take_the_others_along(tmp_path, pictures):
    network = build_detector("fcos", "resnet18", 1, size=64, channels=64, width=0.25)
    weights = tmp_path / "net.safetensors"
    about = {"task": "detect", "kind": "fcos", "backbone": "resnet18"}
    save_predictor(weights, network, names=["cell"], size=64, channels=64, width=0.25, **about)
    Image.new("RGB", (2, 3000)).save(pictures / "narrow.png")
    found = predicted(tmp_path, weights, pictures)
    assert [Path(e["source"]).name for e in found["pictures"]] == ["0.png", "1.png"]
    assert found["skipped"] == [
        f"{pictures / 'narrow.png'}: 2 x 3000 pixels, too narrow for a network of 64 pixels"
    ]


def test_files_of_a_folder_by_their_content(tmp_path, pictures):
    network = timm.create_model("rfa_resnet18", num_classes=2)
    weights = tmp_path / "net.safetensors"
    about = {"task": "classify", "kind": "timm", "backbone": "rfa_resnet18"}
    save_predictor(weights, network, names=["a", "b"], size=32, **about)
    (pictures / "0.png").rename(pictures / "photo")
    (pictures / "IMG.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (pictures / "._1.png").write_bytes(b"resource")
    (pictures / "notes.txt").write_text("none", encoding="utf-8")
    (pictures / "album.png").mkdir()
    found = predicted(tmp_path, weights, pictures)
    assert [Path(e["source"]).name for e in found["pictures"]] == ["1.png", "photo"]
    assert len(found["skipped"]) == 1 and "IMG.heic: cannot be decoded" in found["skipped"][0]
    assert len(predicted(tmp_path, weights, pictures / "photo")["pictures"]) == 1
    for name in ("notes.txt", "album.png"):
        assert main(["predict", str(weights), str(pictures / name)]) == 2


def test_drawing_marks_the_box():
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    drawn = Prediction(("cell",), boxes=(("cell", 0.9, (10.0, 15.0, 40.0, 35.0)),)).draw(image)
    factor = drawn.shape[1] // 40
    at = drawn[:, ::factor, ::factor]
    assert at[:, 33, 10].sum() > 0 and at[:, 33, 25].sum() == at[:, 3, 3].sum() == 0


def test_bad_input(tmp_path, pictures, capsys):
    assert main(["predict", str(tmp_path / "none.safetensors"), str(pictures)]) == 2
    assert "none.safetensors, which does not exist" in capsys.readouterr().err
    (tmp_path / "text.safetensors").write_text("text", encoding="utf-8")
    assert main(["predict", str(tmp_path / "text.safetensors"), str(pictures)]) == 2
    assert main(["predict", str(tmp_path / "text.safetensors"), str(tmp_path / "no.png")]) == 2
    assert "source: expected a folder or a file" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_odd_files_of_a_folder(tmp_path, pictures):
    """Names that are no text, endings in capitals, animations, and what has to be named."""
    assert rfaconv.models.MODEL_NAMES
    network = timm.create_model("rfa_resnet18", num_classes=3)
    weights = tmp_path / "net.safetensors"
    about = {"task": "classify", "kind": "timm", "backbone": "rfa_resnet18"}
    save_predictor(weights, network, names=["a", "b", "c"], size=32, **about)
    (pictures / "0.png").rename(pictures / os.fsdecode(b"\xff.PNG"))
    frames = [Image.new("L", (8, 8), n) for n in (0, 255)]
    frames[0].save(pictures / "moving.gif", save_all=True, append_images=frames[1:])
    header = b"\x00\x00\x75\x30\x00\x00\x75\x30\x08\x02\x00\x00\x00"
    chunk = b"\x00\x00\x00\x0dIHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    (pictures / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + end)
    found = predicted(tmp_path, weights, pictures)
    assert {Path(e["source"]).name for e in found["pictures"]} == {
        "1.png", "moving.gif", os.fsdecode(b"\xff.PNG"),
    }  # fmt: skip
    assert len(found["skipped"]) == 1 and "bomb.png: cannot be decoded" in found["skipped"][0]
