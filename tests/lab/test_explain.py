"""Explanations: of every task, by the package, with gates, prediction and truth."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from test_own_images import classes, masks, picture, squares, voc
from torchvision.ops import box_iou

import rfaconv.models
from rfaconv.cli.main import main
from rfaconv.effective import effective_kernels, operator_layers, pixel_gates
from rfaconv.errors import InvalidArgument
from rfaconv.export.source import Source
from rfaconv.lab.evaluate import confusion_picture
from rfaconv.lab.networks.detectors import build_detector
from rfaconv.lab.networks.segmenters import build_segmenter
from rfaconv.lab.predict import save_predictor
from rfaconv.nn import CAConv2d, CBAMConv2d, RFAConv2d, RFCAConv2d, RFCBAMConv2d

pytest.importorskip("pytorch_grad_cam")

from rfaconv.lab.explain import explain_image, figure_of, png_of, view_of
from rfaconv.lab.explain.cams import METHODS, activation_map, target_layers
from rfaconv.lab.explain.compared import activation_figure, gate_figure
from rfaconv.lab.explain.given import given_images
from rfaconv.lab.explain.views import open_view

assert rfaconv.models.MODEL_NAMES


def classifier(operator: str = "rfa") -> Source:
    network = timm.create_model("fitted_resnet", operator=operator, num_classes=2, image_size=32)
    names = ("nothing", "square")
    return Source(network.eval(), "net", (32, 32), 3, names, (0.5,) * 3, (0.25,) * 3)


class Corner(torch.nn.Module):
    """Two classes: brightness at the upper left, and at the lower right."""

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.AvgPool2d(4)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.map(x.relu() * self.scale)[:, 0]
        side = maps.shape[-1] // 2
        return torch.stack(
            [maps[:, :side, :side].mean((1, 2)), maps[:, side:, side:].mean((1, 2))], 1
        )


@pytest.mark.parametrize("method", ["layercam", "hirescam"])
@pytest.mark.parametrize("target", [0, 1])
def test_the_map_is_where_the_score_comes_from(method: str, target: int) -> None:
    network = Corner().eval()
    x = torch.rand(1, 3, 32, 32) + 0.5
    heat = activation_map(network, x, lambda output: output[0, target], method)
    assert heat.shape == (32, 32) and heat.max() == 1 and heat.min() >= 0
    corners = heat[:12, :12].mean(), heat[20:, 20:].mean()
    assert corners[target] > 0.5 and corners[1 - target] < 1e-6


def test_grad_cam_is_its_formula() -> None:
    source = classifier()
    x = torch.randn(1, 3, 32, 32)
    (layer,) = target_layers(source.network, x)
    kept: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda m, i, o: kept.append(o))
    score = source.network(x)[0, 1]
    handle.remove()
    (grad,) = torch.autograd.grad(score, kept[0])
    expected = (grad.mean((2, 3), keepdim=True) * kept[0]).sum(1).relu()[0].detach()
    expected = torch.nn.functional.interpolate(expected[None, None], (32, 32), mode="bilinear")[
        0, 0
    ]
    heat = activation_map(source.network, x, lambda output: output[0, 1])
    assert kept[0].shape[-1] > 1
    torch.testing.assert_close(heat, expected / expected.max().clamp_min(1e-30))


@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str) -> None:
    source = classifier()
    heat = activation_map(source.network, torch.randn(1, 3, 32, 32), lambda o: o[0, 0], method)
    assert bool(heat.isfinite().all()) and 0 <= float(heat.min()) <= float(heat.max()) <= 1


@pytest.mark.parametrize("kind", [RFAConv2d, RFCBAMConv2d, RFCAConv2d, CBAMConv2d, CAConv2d])
@pytest.mark.parametrize(
    "settings", [{"padding": 1}, {"padding": "same"}, {"stride": 2, "padding": 1}, {"dilation": 2}]
)
def test_gates_of_pixels_are_those_of_the_windows_that_see_them(kind, settings) -> None:
    layer = kind(4, 6, 3, **settings).eval()
    x = torch.randn(2, 4, 9, 8)
    gate = effective_kernels(layer, x).gate
    found = pixel_gates(gate, layer, (9, 8))
    total, count = torch.zeros(2, 9, 8), torch.zeros(9, 8)
    stride = layer.stride[0]
    step = low = layer.dilation[0]
    for p in range(gate.shape[3]):
        for q in range(gate.shape[4]):
            for tap in range(9):
                i, j = p * stride - low + tap // 3 * step, q * stride - low + tap % 3 * step
                if 0 <= i < 9 and 0 <= j < 8:
                    total[:, i, j] += gate[:, :, tap, p, q].mean(1)
                    count[i, j] += 1
    mean = total / count.clamp_min(1)
    there = count > 0
    mean = mean / (mean[:, there].mean(1)[:, None, None])
    torch.testing.assert_close(found[:, there], mean[:, there])
    assert bool((found[:, ~there] == 1).all())


def test_an_image_of_a_class(tmp_path: Path) -> None:
    view, plain = view_of(classifier()), view_of(classifier("conv"))
    image = torch.randint(0, 255, (3, 50, 70), dtype=torch.uint8)
    made = explain_image(view, image, truth="square", plain=plain, methods=["gradcam", "layercam"])
    titles = [panel.title for panel in made.panels]
    assert titles[:2] == ["truth: square", "prediction"]
    assert titles[2:6] == [
        f"{name}{method} of {made.target}"
        for name in ("", "plain: ")
        for method in ("Grad-CAM", "LayerCAM")
    ]
    names = list(operator_layers(view.network))
    assert titles[6:] == [f"gates of {names[0]}", f"gates of {names[-1]}"]
    assert made.right == (made.target == "square")
    assert made.panels[6].heat.mean() == pytest.approx(1, abs=1e-5)
    (tmp_path / "a.png").write_bytes(png_of(figure_of(made.panels[:2])))
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width > 600 and len(np.unique(np.asarray(drawn))) > 50
    with pytest.raises(InvalidArgument, match="layers: expected one of"):
        explain_image(view, image, layers=["layer9"])
    with pytest.raises(InvalidArgument, match="layers: expected none: the network has no"):
        explain_image(plain, image, layers=["layer1"])
    with pytest.raises(InvalidArgument, match="target: expected one of"):
        explain_image(view, image, target="cat")
    with pytest.raises(InvalidArgument, match="method: expected one of"):
        explain_image(view, image, methods=["guess"])


def test_boxes_with_truth(tmp_path: Path) -> None:
    torch.manual_seed(0)
    voc(tmp_path / "own")
    network = build_detector("fcos", "rfca_resnet18", 1, size=64, channels=64).eval()
    # an untrained detector is sure of nothing
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, 1.0)
    file = tmp_path / "net.safetensors"
    about = {"task": "detect", "kind": "fcos", "backbone": "rfca_resnet18", "size": 64}
    save_predictor(file, network, names=["square"], channels=64, **about)
    out = tmp_path / "out"
    words = ["explain", str(file), str(tmp_path / "own"), "--count", "2", "--out", str(out)]
    assert main(words) == 0
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 2 and page.count("data:image/webp") == 10
    assert "://" not in page and "<script" not in page and "<link" not in page
    assert len(list(out.glob("*.png"))) == 2
    view = open_view(file)
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    found = view.find(view.shown(image))
    with torch.no_grad():
        score = view.score(view.network(view.tensor(image)), found, None)
    boxes, scores = (torch.tensor([row[k] for row in found.boxes]) for k in (2, 1))
    same = box_iou(boxes, boxes) >= 0.5  # a box without area, clipped at the edge, is none
    best = torch.where(same, scores, torch.zeros(())).amax(1)
    assert float(score) == pytest.approx(float(best.sum()), rel=1e-4)
    assert float(score) > 5


def test_masks_with_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks(tmp_path / "own")
    file = tmp_path / "net.safetensors"
    about = {"task": "segment", "kind": "unet", "backbone": "rfa_resnet18", "width": 0.25}
    network = build_segmenter("unet", "rfa_resnet18", 2, width=0.25)
    save_predictor(file, network, names=["background", "class 1"], image_size=(64, 64), **about)
    out = tmp_path / "out"
    words = ["explain", str(file), str(tmp_path / "own"), "--count", "1", "--out", str(out)]
    assert main(words) == 0
    assert (out / "index.html").read_text(encoding="utf-8").count("data:image/webp") == 5
    classes(tmp_path / "classes")
    assert main(["explain", str(file), str(tmp_path / "classes"), "--out", str(out)]) == 2
    assert "images to segment" in capsys.readouterr().err


def test_files_and_damaged_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rfaconv.export import save_pretrained

    source = classifier()
    made = {"operator": "rfa", "image_size": 32}
    source = Source(**{**vars(source), "architecture": "fitted_resnet", "arguments": made})
    save_pretrained(source, tmp_path / "net")
    for path, mask, _ in squares(tmp_path / "square", 2):
        picture(path, mask)
    (tmp_path / "square/broken.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    assert (
        main(["explain", str(tmp_path / "net"), str(tmp_path / "square"), "--out", str(out)]) == 0
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("truth: square") == 2 and "broken.jpg" in page
    gone = tmp_path / "gone"
    words = ["explain", str(tmp_path / "net"), str(tmp_path / "square/broken.jpg")]
    assert main([*words, "--out", str(gone)]) == 2
    assert not gone.exists()
    assert main([*words[:2], str(tmp_path / "none.png")]) == 2
    assert main(["explain", str(tmp_path / "net"), "digits", "--out", str(gone)]) == 0


def test_what_lies_in_the_folder_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rfaconv.export import save_pretrained

    made = {"operator": "rfa", "image_size": 32}
    source = {**vars(classifier()), "architecture": "fitted_resnet", "arguments": made}
    save_pretrained(Source(**source), tmp_path / "net")
    for path, mask, _ in squares(tmp_path / "square", 2):
        picture(path, mask)
    first = sorted((tmp_path / "square").iterdir())[0]
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{first.stem}.PNG").write_bytes(b"of somebody else")
    words = ["explain", str(tmp_path / "net"), str(tmp_path / "square"), "--out", str(out)]
    assert main(words) == 0
    assert (out / f"{first.stem}.PNG").read_bytes() == b"of somebody else"
    told = json.loads((out / "explanations.json").read_text(encoding="utf-8"))
    assert told["pictures"][0]["drawn"] == f"{first.stem}-2.png"
    assert told["task"] == "classify" and told["pictures"][0]["source"] == str(first)
    files = {path.name for path in out.iterdir()}
    assert main(words) == 0  # its own it replaces, and says so
    assert {path.name for path in out.iterdir()} == files
    assert "are replaced" in " ".join(capsys.readouterr().err.split())
    for name, content in (("explanations.json", "[]"), ("index.html", "my page")):
        other = tmp_path / name
        other.mkdir()
        (other / name).write_text(content, encoding="utf-8")
        assert main([*words[:-1], str(other)]) == 2
        assert [path.read_text(encoding="utf-8") for path in other.iterdir()] == [content]
        assert "out: expected a folder without" in " ".join(capsys.readouterr().err.split())


def test_images_of_several_sets_have_files_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        classes(tmp_path / name)
        picture(tmp_path / "given" / name / "my pic 1.png", squares(tmp_path)[0][1])
    words = [*map(str, (tmp_path / "a", tmp_path / "b", tmp_path / "given/a/my pic 1.png"))]
    given = given_images(words, view_of(classifier()), 2)
    assert len({item.name for item in given}) == len(given) == 5


def test_names_that_are_no_text_and_no_formula(tmp_path: Path) -> None:
    from rfaconv.export import save_pretrained

    made = {"operator": "rfa", "image_size": 32}
    source = {**vars(classifier()), "architecture": "fitted_resnet", "arguments": made}
    save_pretrained(Source(**source), tmp_path / "net")
    for name in (b"\xff.png", b"$x^$ $_$.png"):
        picture(tmp_path / "given" / os.fsdecode(name), squares(tmp_path)[0][1])
    words = ["explain", str(tmp_path / "net"), str(tmp_path / "given"), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert "?" in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    confusion_picture(
        {"confusion": [[1, 0], [0, 1]], "classes": ["$x^$", "\udcff"]}, tmp_path / "c.png"
    )
    words = ["inspect", str(tmp_path / "net"), str(next((tmp_path / "given").iterdir())), "--out"]
    assert main([*words, str(tmp_path)]) == 2


def test_yolo(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    from ultralytics import YOLO

    from rfaconv import register

    register("ultralytics")
    for name in ("yolo11n-rfa.yaml", "yolo11n-cls.yaml"):
        YOLO(name, verbose=False).save(tmp_path / "net.pt")
        view = open_view(tmp_path / "net.pt", threshold=0.0)
        image = torch.randint(0, 255, (3, 60, 90), dtype=torch.uint8)
        made = explain_image(view, image)
        heat = made.panels[1 if "rfa" in name else 2].heat
        assert bool(heat.isfinite().all()) and heat.max() <= 1
        assert len(made.panels) == (4 if "rfa" in name else 3)


def test_networks_beside_each_other() -> None:
    views = {name: view_of(classifier(name)) for name in ("conv", "cbam", "rfa")}
    images = [(torch.randint(0, 255, (3, 32, 32)).byte(), truth) for truth in ("square", None)]
    figure = activation_figure(views, images)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert len(titles) == 8 and titles[0] == "square" and titles[4] == "image"
    assert [title.partition("\n")[0] for title in titles[1:4]] == ["conv", "cbam", "rfa"]
    figure = gate_figure(views, images)
    assert len(figure.axes) == 6 and figure.axes[1].get_title(loc="left").startswith("cbam\n1 ±")
    assert len(png_of(figure)) > 10_000
