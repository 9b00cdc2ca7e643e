"""The forms for ExecuTorch are equal to the layer, and hold what XNNPACK computes alone."""

import pytest
import torch

from rfaconv.export.forms.xnnpack import XnnpackRFA, XnnpackRFCA, XnnpackRFCBAM
from rfaconv.export.prepare import prepare
from rfaconv.nn import CONVOLUTIONS

FORMS = {"rfa": XnnpackRFA, "rfcbam": XnnpackRFCBAM, "rfca": XnnpackRFCA}
LAYERS = {
    "plain": {},
    "stride": {"stride": 2},
    "rectangle": {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    "one line": {"kernel_size": (1, 3), "padding": (0, 1)},
    "reflect": {"padding_mode": "reflect", "bias": True},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 7},
}
# of operations that XNNPACK leaves to the portable kernels
LEFT_OUT = ("reciprocal", "avg_pool2d", "amax", "mean", "split")
GLOBAL = {"rfcbam": 1}  # the mean of whole maps, which XNNPACK pools


def layer(operator, channels=7, **settings):
    torch.manual_seed(3)
    made = CONVOLUTIONS[operator](channels, 14, **{"kernel_size": 3, "padding": 1, **settings})
    for _ in range(2):  # running statistics other than those of the start
        made(torch.randn(4, channels, 12, 12))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("operator", FORMS)
def test_equal_to_the_layer(operator, name):
    made = layer(operator, **LAYERS[name])
    form = prepare(made, runtime="executorch")
    assert type(form) is FORMS[operator]
    for height, width in [(7, 9), (12, 12)]:
        x = torch.randn(2, 7, height, width)
        expected = made(x)
        torch.testing.assert_close(form(x), expected, rtol=0, atol=3e-6 * expected.abs().max())


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
def test_the_largest_of_any_number_of_channels(channels):
    made = layer("rfcbam", 8)
    form = prepare(made, runtime="executorch")
    x = torch.randn(2, channels, 5, 4)
    assert torch.equal(form._largest(x), x.amax(1, keepdim=True))


@pytest.mark.parametrize("operator", FORMS)
def test_no_operation_that_xnnpack_leaves_out(operator):
    """Windows without padding it pools, whole maps it averages; both are few."""
    form = prepare(layer(operator), runtime="executorch")
    program = torch.export.export(form, (torch.zeros(1, 7, 9, 9),))
    found = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    kept = [name for name in found if any(word in name for word in LEFT_OUT)]
    if operator == "rfca":
        nodes = [n for n in program.graph.nodes if "avg_pool2d" in str(n.target)]
        assert all(len(n.args) < 4 for n in nodes)  # no padding
        kept = [name for name in kept if "avg_pool2d" not in name]
    assert len(kept) == GLOBAL.get(operator, 0), kept
