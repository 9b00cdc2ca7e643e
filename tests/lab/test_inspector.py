"""The inspector's page without a browser: what lies in it, its size, and what it refuses."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_explain import classifier

from rfaconv.effective import effective_kernels
from rfaconv.errors import InvalidArgument
from rfaconv.lab.explain.views import view_of
from rfaconv.lab.inspector import inspector_page
from rfaconv.lab.inspector.packing import packed_layer, quantised
from rfaconv.nn import CBAMConv2d, RFAConv2d, RFCAConv2d, RFCBAMConv2d

pytest.importorskip("pytorch_grad_cam")


def unpacked(packed: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(shape)
    column = (-1, *[1] * (len(shape) - 1))
    low, step = (np.reshape(packed[key], column) for key in ("low", "step"))
    return low + step * data


def values_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="values"[^>]*>(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found.group(1))


@pytest.mark.parametrize("kind", [RFAConv2d, RFCBAMConv2d, RFCAConv2d, CBAMConv2d])
@pytest.mark.parametrize("settings", [{}, {"stride": 2, "groups": 2}, {"kernel_size": 5}])
def test_gates_and_kernels_are_those_of_effective_kernels(kind, settings) -> None:
    arguments = {"kernel_size": 3, "padding": 1, **settings}
    layer = kind(4, 6, **arguments).eval()
    x = torch.randn(1, 4, 9, 8)
    found = effective_kernels(layer, x)
    packed = packed_layer("a", layer, x, budget=10**6)
    gate = found.gate[0].numpy()
    taps, high, wide = gate.shape[1:]
    assert packed["kept"] == [0, 1, 2, 3] and packed["output"] == [high, wide]
    for name, wanted in (("gates", gate), ("mean", gate.mean(0, keepdims=True))):
        got = unpacked(packed[name], wanted.shape)
        half = np.reshape(packed[name]["step"], (-1, 1, 1, 1)) / 2
        assert (np.abs(got - wanted) <= half * 1.001 + 1e-7).all()
    weight = np.frombuffer(base64.b64decode(packed["weight"]["data"]), "<f4")
    weight = weight.reshape(len(packed["weight"]["outputs"]), 4, taps)
    kernels = found.kernels[0].flatten(-2)  # (Ho, Wo, O, C/groups, T)
    per_group = kernels.shape[3]
    for row, output in zip(weight, packed["weight"]["outputs"], strict=True):
        first = output // (6 // layer.groups) * per_group
        for channel in range(4):
            inside = 0 <= channel - first < per_group
            product = torch.from_numpy(row[channel].copy()) * found.gate[0, channel, :, 2, 3]
            expected = kernels[2, 3, output, channel - first] if inside else product * 0
            torch.testing.assert_close(product, expected)


def test_few_bytes_keep_the_channels_that_vary_most() -> None:
    layer, x = RFAConv2d(16, 4, 3).eval(), torch.randn(1, 16, 8, 8)
    gate = effective_kernels(layer, x).gate[0]
    packed = packed_layer("a", layer, x, budget=7 * 9 * 64)
    spread = (gate.amax(1) - gate.amin(1)).mean((1, 2))
    assert packed["kept"] == sorted(spread.argsort(descending=True)[:5].tolist())
    assert packed["channels"] == 16
    assert packed_layer("a", layer, x, budget=1)["kept"] == [int(spread.argmax())]
    assert quantised(torch.full((1, 4), 2.0)).data.tolist() == [[0, 0, 0, 0]]


def test_the_page(tmp_path: Path) -> None:
    view = view_of(classifier())
    image = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    cbam = view_of(classifier("cbam"))
    page = inspector_page(view, image, title="</script><b>", layers=["layer1.0.conv1"])
    assert len(page.encode()) < 5_000_000
    assert "</script><b>" not in page and "src=" not in page.replace("picture.src", "")
    assert not re.search(r"https?://", page)
    values = values_of(page)
    ((own, *others),) = values["layers"]
    assert (own["operator"], own["name"]) == ("RFAConv2d", "layer1.0.conv1")
    assert [(o["operator"], o["sharing"]) for o in others] == [
        ("CBAM (untrained)", 1.0), ("CA (untrained)", 1.0),
    ]  # fmt: skip
    layer = view.network.get_submodule("layer1.0.conv1")
    inputs = view.inputs(image, [layer])
    assert own["sharing"] == effective_kernels(layer, inputs[0]).sharing < 0.5
    page = inspector_page(view, image, title="a", beside=[("mine", cbam)])
    values = values_of(page)
    assert len(values["layers"]) == 4
    assert [o["operator"] for o in values["layers"][0][1:]] == ["mine"]
    with pytest.raises(InvalidArgument, match="model: expected a network with an operator"):
        inspector_page(view_of(classifier("conv")), image, title="a")


def test_both_languages_say_the_same() -> None:
    from importlib.resources import files

    folder = files("rfaconv.lab.inspector")
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    english, chinese = texts["en"], texts["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        names = set(re.findall(r"\{\w+\}", text))
        assert names == set(re.findall(r"\{\w+\}", chinese[key])), key
    page = (folder / "page.html.j2").read_text(encoding="utf-8")
    page += (folder / "page.js").read_text(encoding="utf-8")
    used = set(re.findall(r'data-text="(\w+)"|say\("(\w+)"', page))
    assert {a or b for a, b in used} <= english.keys()
