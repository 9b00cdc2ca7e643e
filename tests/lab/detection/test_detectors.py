"""torchvision's detectors with the operators."""

from __future__ import annotations

import pytest
import torch

from rfaconv.errors import InvalidArgument
from rfaconv.lab.networks.detectors import DETECTORS, build_detector
from rfaconv.nn import CONVOLUTIONS


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


def test_bad_arguments():
    with pytest.raises(InvalidArgument, match="did you mean retinanet"):
        build_detector("retinanets", "resnet18", 3)
    with pytest.raises(InvalidArgument, match="backbone: expected the name of a timm model"):
        build_detector("fcos", "rfa_resnet19", 3)
    with pytest.raises(InvalidArgument, match="channels: expected a multiple of 32"):
        build_detector("fcos", "resnet18", 3, channels=32)
