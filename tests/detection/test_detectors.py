"""torchvision's detectors with the operators learn boxes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from rfaconv.detection import DETECTORS, DetectionSet, Sample, build_detector
from rfaconv.detection.fit import fit_detector
from rfaconv.errors import InvalidArgument
from rfaconv.nn import CONVOLUTIONS


@pytest.fixture
def squares(tmp_path):
    """Pictures with one bright square each."""
    samples = []
    for index in range(8):
        image = Image.new("RGB", (96, 96), (30, 30, 30))
        x, y = 8 + 5 * index, 50 - 5 * index
        image.paste((240, 200, 40), (x, y, x + 32, y + 32))
        path = tmp_path / f"{index}.png"
        image.save(path)
        samples.append(Sample(path, (96, 96), ((x, y, x + 32, y + 32),), (0,)))
    return DetectionSet(samples, ["square"])


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize(
    "backbone", ["resnet18", "rfa_resnet18", "rfcbam_resnet18", "rfca_resnet18"]
)
def test_detectors_run(kind, backbone):
    network = build_detector(kind, backbone, 3, size=64, channels=64).eval()
    with torch.no_grad():
        found = network([torch.rand(3, 50, 70)])
    assert set(found[0]) == {"boxes", "labels", "scores"}
    operator = backbone.partition("_")[0]
    replaced = [m for m in network.modules() if isinstance(m, tuple(CONVOLUTIONS.values()))]
    assert len(replaced) == (0 if operator == "resnet18" else 8)


def test_a_detector_learns_and_goes_on_where_it_stopped(squares, tmp_path):
    torch.manual_seed(0)
    network = build_detector("fcos", "rfa_resnet18", 1, size=64, channels=64, width=0.25)
    saved = tmp_path / "run.ckpt"
    common = {"batch_size": 4, "lr": 2e-3, "checkpoint": saved}
    first = fit_detector(network, squares, squares, epochs=2, **common)
    assert 0 <= first.map <= first.map50 <= 1
    again = build_detector("fcos", "rfa_resnet18", 1, size=64, channels=64, width=0.25)
    longer = fit_detector(again, squares, squares, epochs=8, **common)
    assert longer.losses[:2] == first.losses
    assert len(longer.losses) == 8
    assert longer.losses[-1] < 0.85 * longer.losses[0]


def test_bad_arguments(squares):
    with pytest.raises(InvalidArgument, match="did you mean retinanet"):
        build_detector("retinanets", "resnet18", 3)
    with pytest.raises(InvalidArgument, match="backbone: expected the name of a timm model"):
        build_detector("fcos", "rfa_resnet19", 3)
    with pytest.raises(InvalidArgument, match="channels: expected a multiple of 32"):
        build_detector("fcos", "resnet18", 3, channels=32)
    network = build_detector("fcos", "resnet18", 1, size=32, channels=64)
    with pytest.raises(InvalidArgument, match="optimizer"):
        fit_detector(network, squares, squares, epochs=1, optimizer="adamm")
