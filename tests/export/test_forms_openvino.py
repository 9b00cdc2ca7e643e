"""RFCA's two forms for OpenVINO are equal to the layer at every height, width and kernel."""

import pytest
import torch
from torch import nn

from rfaconv.export import Source, export, load_exported
from rfaconv.export.forms.rfca_openvino import ROWS, WIDE, RFCALineForm, RFCATapForm
from rfaconv.export.prepare import prepare
from rfaconv.nn import RFCAConv2d

LAYERS = {
    "lines": {},
    "stride": {"stride": 2},
    "rectangle": {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    "one line": {"kernel_size": (1, 3), "padding": (0, 1)},
    "reflect": {"padding_mode": "reflect", "bias": True},
    "dilation": {"dilation": 2, "padding": 2},
}


def layer(channels, **settings):
    torch.manual_seed(3)
    made = RFCAConv2d(channels, 8, **{"kernel_size": 3, "padding": 1, **settings})
    for _ in range(2):  # running statistics other than those of the start
        made(torch.randn(4, channels, 12, 12))
    return made.eval().requires_grad_(False)


def check(form, made, sizes):
    for height, width in sizes:
        x = torch.randn(2, made.in_channels, height, width)
        expected = made(x)
        torch.testing.assert_close(form(x), expected, rtol=0, atol=2e-6 * expected.abs().max())


@pytest.mark.parametrize(("channels", "kind"), [(8, RFCATapForm), (WIDE, RFCALineForm)])
@pytest.mark.parametrize("name", LAYERS)
def test_equal_to_the_layer(name, channels, kind):
    made = layer(channels, **LAYERS[name])
    form = prepare(made, runtime="openvino")
    assert type(form) is kind
    check(form, made, [(7, 9), (ROWS, 5), (ROWS + 1, 6), (2 * ROWS + 3, 5)])


def test_every_height_up_to_three_blocks():
    made = layer(4)
    check(prepare(made, runtime="openvino"), made, [(h, 4) for h in range(1, 3 * ROWS + 2)])


def test_groups_go_tap_by_tap():
    made = layer(WIDE, groups=2)
    form = prepare(made, runtime="openvino")
    assert type(form) is RFCATapForm
    check(form, made, [(9, 7)])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_lines_in_the_runtime(dtype, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, WIDE, 1), layer(WIDE), nn.ReLU()).eval()
    network.requires_grad_(False)
    export(Source(network, "layer", (18, 18)), tmp_path / "file.xml", "openvino", dtype=dtype)
    run = load_exported(tmp_path / "file.xml", threads=1)
    tolerance = 1e-5 if dtype == "float32" else 1e-2
    for batch, height, width in [(1, 7, 7), (3, 19, 22)]:
        x = torch.randn(batch, 3, height, width)
        expected = network(x)
        torch.testing.assert_close(run(x), expected, rtol=0, atol=tolerance * expected.abs().max())
