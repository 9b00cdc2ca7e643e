"""Operation counts: thop gives the published figures, FlopCounterMode those of the formulation."""

import math
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rfaconv.models  # noqa: F401
from rfaconv.backends.cpu import library
from rfaconv.complexity import PTFLOPS_HOOKS, THOP_RULES, operator_cost, register_thop
from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d
from rfaconv.surgery import fuse
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS

# paper, table of section 4.1: GFLOPs as thop counts them, at 224 x 224
PUBLISHED = {
    "cam": (1.825, 3.681),
    "cbam": (1.826, 3.682),
    "ca": (1.827, 3.684),
    "rfa": (1.908, 3.843),
    "rfca": (1.917, 3.859),
    "rfcbam": (1.904, 3.834),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("depth", [18, 34])
def test_thop_reports_the_published_figures(operator, depth):
    thop = pytest.importorskip("thop")
    model = timm.create_model(f"{operator}_resnet{depth}", device="meta")
    macs, parameters = thop.profile(
        model, (torch.empty(1, 3, 224, 224, device="meta"),), verbose=False
    )
    published = PUBLISHED[operator][depth == 34]
    # three decimals, of which one log rounds down
    assert abs(macs / 1e9 - published) < 6e-4
    assert parameters == sum(p.numel() for p in model.parameters())
    assert not any("total_ops" in key for key in model.state_dict())


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD_OPERATORS)
def test_ptflops_counts_the_layers_with_our_hooks(operator):
    ptflops = pytest.importorskip("ptflops")
    model = timm.create_model(f"{operator}_resnet18")
    macs, _ = ptflops.get_model_complexity_info(
        model, (3, 64, 64), as_strings=False, print_per_layer_stat=False, backend="pytorch",
        custom_modules_hooks=PTFLOPS_HOOKS,
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, 64, 64))
    # it counts norms, activations and pooling of the network too, FlopCounterMode does not
    assert macs == pytest.approx(counter.get_total_flops() / 2, rel=0.03)


class Published(nn.Module):
    """The modules that the published layer runs, with their shapes, for thop to count."""

    def __init__(self, operator, c, o, k, s):
        super().__init__()
        taps = k * k

        def grouped():
            conv = nn.Conv2d(c, c * taps, k, s, k // 2, groups=c, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(c * taps), nn.ReLU())

        hidden = max(8, c // 32)
        if operator == "rfa":
            pool = nn.AvgPool2d(1)  # thop 0.1 counts outputs alone; see the test
            point = nn.Conv2d(c, c * taps, 1, groups=c, bias=False)
            self.parts = nn.ModuleList([grouped(), nn.Sequential(pool, point)])
        elif operator == "rfcbam":
            se = nn.Sequential(nn.Linear(c, 16, bias=False), nn.Linear(16, c, bias=False))
            self.parts = nn.ModuleList([grouped(), se, nn.Conv2d(2, 1, 3, 1, 1, bias=False)])
        elif operator == "rfca":
            hidden_layers = [nn.Conv2d(c, hidden, 1), nn.BatchNorm2d(hidden)]
            self.parts = nn.ModuleList([grouped(), *hidden_layers, nn.Conv2d(hidden, c, 1)])
        self.final = nn.Conv2d(c, o, k, k)
        self.operator, self.k, self.s = operator, k, s

    def forward(self, x):
        b, c = x.shape[:2]
        f = self.parts[0](x)
        k, (ho, wo) = self.k, f.shape[2:]
        enlarged = x.new_empty(b, c, ho * k, wo * k)
        if self.operator == "rfa":
            self.parts[1](x.new_empty(b, c, ho, wo))
        elif self.operator == "rfcbam":
            nn.functional.adaptive_avg_pool2d(x, 1)
            self.parts[1](x.mean((2, 3)))
            self.parts[2](x.new_empty(b, 2, ho * k, wo * k))
        elif self.operator == "rfca":
            hidden = self.parts[2](self.parts[1](x.new_empty(b, c, (ho + wo) * k, 1)))
            for length in (ho, wo):
                self.parts[3](hidden.new_empty(b, hidden.shape[1], length * k, 1))
        return self.final(enlarged)


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca"])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_multiply_adds_are_those_of_the_published_modules(operator, kernel, stride):
    layer = CONVOLUTIONS[operator](40, 24, kernel, stride)
    published = Published(operator, 40, 24, kernel, stride)
    x = torch.randn(2, 40, 13, 10)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        y = published(x)
    cost = operator_cost(layer, x.shape, y.shape)
    assert layer(x).shape == y.shape
    assert 2 * cost.macs == counter.get_total_flops()


@pytest.mark.parametrize("counter_first", [False, True])
def test_flop_counter_without_a_word_to_us(counter_first):
    """Nothing but torch's counter and layers are imported, in either order."""
    counter = "from torch.utils.flop_counter import FlopCounterMode"
    imports = [counter, "import rfaconv.nn"] if counter_first else ["import rfaconv.nn", counter]
    code = """
import torch
layers = rfaconv.nn.RFAConv2d(8, 8, 3), rfaconv.nn.CoordinateAttention(8)
for layer in layers:
    layer.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, 8, 6, 6))
    print(type(layer).__name__, *counter.get_flop_counts()["Global"])
"""
    run = [sys.executable, "-c", "\n".join(imports) + code]
    lines = subprocess.run(
        run, capture_output=True, encoding="utf-8", check=True
    ).stdout.splitlines()
    assert len(lines) == 2
    assert all("rfaconv." in line for line in lines)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_flop_counter(operator, training, backend):
    """Every product that runs is counted: features once where they are kept, else again."""
    if backend == "cpu" and (reason := library.load().reason):
        pytest.skip(reason)
    c, o, h, w = 24, 32, 12, 10
    layer = CONVOLUTIONS[operator](c, o, 3).train(training)
    receptive = operator in RECEPTIVE_FIELD_OPERATORS
    if receptive:
        layer.backend = backend
    x = torch.randn(2, c, h, w)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        layer(x)
    features = 2 * (2 * c * 9 * 9 * h * w)
    # statistics of features need the features, which only a recording reference keeps
    kept = training and backend == "reference"
    extra = features if operator in ("rfcbam", "rfca") and not kept else 0
    if training and receptive:
        extra += features  # patch moments
    if operator == "rfcbam" and (training or backend == "reference"):
        # composed, the spatial gate runs from 2 T to T maps of windows, in place of 2 to 1 enlarged
        # ones
        extra += 2 * (2 * h * w) * (2 * 9 * 9 * 9 - 2 * 9 * 9)
    expected = 2 * operator_cost(layer, x.shape, (2, o, h, w)).macs + extra
    rest = counter.get_total_flops() - expected
    # beside the products per pixel, training takes variances from one (T, T) matrix per channel
    assert 0 <= rest <= (c * 9 * 9 * 32 if training and receptive else 0)


def test_flop_formulas_of_the_backward_operations():
    """On the meta device: what is counted does not depend on a backend."""
    c, o, t, groups = 24, 32, 9, 2
    window = Window.create(3, 2)
    x = torch.empty(2, c, 12, 10, device="meta")
    ho, wo = window.output_size(x.shape[2:])
    entries = 2 * c * t * ho * wo
    features, projection = 2 * entries * t, 2 * entries * o // groups
    weight = x.new_empty(o, c // groups, 3, 3)
    dy, g, b = x.new_empty(2, o, ho, wo), x.new_empty(c, t, t), x.new_empty(c, t)
    mean = x.new_empty(c, t, dtype=torch.float64)
    cov = x.new_empty(c, t, t, dtype=torch.float64)
    ints = window.to_ints()
    ops = torch.ops.rfaconv

    def count(op, *args):
        with FlopCounterMode(display=False) as counter:
            op(*args, "cpu")
        return counter.get_total_flops()

    def backward(needs, variant="none", gate=()):
        args = (dy, x, g, b, list(gate), weight, variant, groups, ints, needs)
        return count(ops.project_backward, *args)

    assert count(ops.patch_moments, x, ints) == features
    assert count(ops.patch_moments_backward, mean, cov, x, mean, ints) == features
    assert count(ops.project, x, g, b, [], weight, None, "none", groups, ints) == (
        features + projection
    )
    assert backward([True] * 5) == 3 * features + 2 * projection
    assert backward([False, False, False, True, False]) == features + projection
    assert backward([True, False, False, False, False]) == 2 * features + projection
    # RFA: logits again, their part in dx and in the gradient of the attention weights
    assert backward([True] * 5, "rfa", [b]) == 3 * features + 2 * projection + 3 * 2 * entries
    row, col = x.new_empty(2, c, 3 * ho), x.new_empty(2, c, 3 * wo)
    assert count(ops.feature_stats, x, g, b, "rfca", ints) == features
    args = (row, col, x, g, b, row, "rfca", ints)
    assert count(ops.feature_stats_backward, *args) == 3 * features

    # linked: the scan from features to x once, and the features in either half
    own, rest, whole = (x, g, b), ("rfca", ints), x.new_empty(o, c, 3, 3)
    projection *= groups
    args = (dy, *own, [row, col], whole, *rest)
    assert count(ops.project_linked_backward, *args) == features + 2 * projection
    panel = x.new_empty(2, ho, wo, 9, c)
    args = (row, col, panel, [row, col], *own, row, *rest)
    assert count(ops.feature_stats_linked_backward, *args) == 3 * features


@pytest.mark.parametrize("first", ["rfaconv.complexity", "torch.utils.flop_counter"])
def test_an_import_brings_the_formulas_and_touches_no_other(first):
    code = f"""
import sys
import rfaconv
assert "torch.utils.flop_counter" not in sys.modules
assert not [f for f in sys.meta_path if type(f).__module__.startswith("rfaconv")]
import {first}
import torch, rfaconv.complexity, torch.utils.flop_counter as counter
for name in ("attend", "project", "patch_moments", "feature_stats_backward"):
    assert getattr(torch.ops.rfaconv, name) in counter.flop_registry, name
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_thop_with_rules_of_its_own():
    thop = pytest.importorskip("thop")
    layer = CONVOLUTIONS["rfca"](16, 8, 3, 2)
    x = torch.randn(2, 16, 9, 9)
    expected = operator_cost(layer, x.shape, (2, 8, 5, 5)).total
    model = nn.Sequential(layer, nn.ReLU())
    assert thop.profile(model, (x,), custom_ops=THOP_RULES, verbose=False)[0] == expected
    assert thop.profile(model, (x,), verbose=False)[0] == expected


def test_ultralytics_reports_them():
    torch_utils = pytest.importorskip("ultralytics.utils.torch_utils")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    from rfaconv.surgery import convert_, where

    model = tasks.DetectionModel("yolov8n.yaml", verbose=False)
    plain = torch_utils.get_flops(model, 640)
    added = {}
    for operator in OPERATORS:
        network = tasks.DetectionModel("yolov8n.yaml", verbose=False)
        convert_(network, operator, where=where.downsampling, bias=True)
        added[operator] = torch_utils.get_flops(network, 640) - plain
    # paper, section 4.4: 8.7 without, 9.0 with RFAConv, 9.1 with RFCAConv, 8.8 with the others
    assert 0.2 < added["rfa"] < 0.4
    assert 0.2 < added["rfca"] < 0.45
    assert all(0 < added[operator] < 0.1 for operator in ("cam", "cbam", "ca"))


def test_fused_layers_and_unfold():
    layer = CONVOLUTIONS["rfa"](16, 8, 3)
    shapes = (1, 16, 9, 9), (1, 8, 9, 9)
    trained = operator_cost(layer, *shapes)
    fused = operator_cost(fuse(layer), *shapes)
    assert fused.macs == trained.macs
    assert trained.other - fused.other == 4 * 16 * 9 * 81
    unfold = operator_cost(UnfoldRFAConv2d(16, 8, 3), *shapes)
    assert unfold.macs == math.prod((16, 9, 9, 81)) + math.prod((16, 8, 9, 81))
    grouped = CONVOLUTIONS["cam"](16, 8, 3, groups=4)
    assert operator_cost(grouped, *shapes).macs == 4 * 16 + 81 * 8 * 4 * 9


def test_refuses_other_modules():
    with pytest.raises(InvalidArgument, match="module: expected one of RFAConv2d"):
        operator_cost(nn.Conv2d(3, 3, 3), (1, 3, 4, 4), (1, 3, 2, 2))
    assert register_thop() in (True, False)
