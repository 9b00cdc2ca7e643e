"""A preserving start computes what the convolution did, for every input in range, and can learn."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window
from rfaconv.surgery import convert_, where
from rfaconv.surgery.bounds import UNKNOWN, Interval
from rfaconv.surgery.calibration import Observation, tap_statistics
from rfaconv.surgery.preserve import lower_bounds
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS

GEOMETRIES = {
    "k3": {"kernel_size": 3, "padding": 1},
    "k3s2": {"kernel_size": 3, "stride": 2, "padding": 1},
    "k1": {"kernel_size": 1},
    "k2_even": {"kernel_size": 2, "stride": 2},
    "k4_padded": {"kernel_size": 4, "padding": 2},
    "k5x3": {"kernel_size": (5, 3), "stride": (1, 2), "padding": (4, 0)},
    "k7s2": {"kernel_size": 7, "stride": 2, "padding": 3},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 6},
    "grouped": {"kernel_size": 3, "groups": 3, "bias": False},
    "dilated": {"kernel_size": 3, "padding": 3, "dilation": 3},
    "dilated_far": {"kernel_size": 3, "padding": (6, 2), "dilation": (6, 2), "groups": 2},
    "same": {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": (2, 1), "padding_mode": "circular"},
    "replicate": {"kernel_size": 5, "padding": "same", "padding_mode": "replicate"},
}
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 3e-2, torch.float16: 4e-3}


def relative(found, wanted):
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


CASES = [(geometry, nn.SiLU) for geometry in GEOMETRIES] + [("k3", nn.ReLU), ("k3", nn.Identity)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("geometry", "activation"), CASES)
def test_one_convolution(operator, geometry, activation):
    for dtype in (torch.float32, torch.float64):
        conv = nn.Conv2d(6, 12, **GEOMETRIES[geometry])
        model = nn.Sequential(activation(), conv).to(dtype).eval()
        calibration = [2 * torch.randn(2, 6, 11, 9) + 1 for _ in range(2)]
        x = 2 * torch.randn(3, 6, 10, 12, dtype=dtype) + 1
        before = model(x)
        report = convert_(model, operator, "1", init="preserve", calibration=calibration)
        assert report.replaced == ("1",)
        assert relative(model(x), before) < TOLERANCES[dtype]


VOLUMES = {
    "1d-k3": (1, {"kernel_size": 3, "padding": 1}),
    "1d-k5s2-grouped": (1, {"kernel_size": 5, "stride": 2, "padding": 2, "groups": 3}),
    "1d-dilated": (1, {"kernel_size": 3, "padding": 4, "dilation": 4, "padding_mode": "reflect"}),
    "3d-k3": (3, {"kernel_size": 3, "padding": 1}),
    "3d-k3s2": (3, {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False}),
    "3d-flat": (3, {"kernel_size": (1, 3, 2), "padding": (0, 1, 0), "groups": 6}),
    "3d-circular": (3, {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}),
}


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD_OPERATORS)
@pytest.mark.parametrize("geometry", VOLUMES)
@pytest.mark.parametrize("activation", [nn.SiLU, nn.Identity])
def test_one_convolution_of_sound_or_of_volumes(operator, geometry, activation):
    dims, settings = VOLUMES[geometry]
    kind = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    model = nn.Sequential(activation(), kind(6, 12, **settings)).double().eval()
    calibration = None
    if activation is nn.Identity:
        calibration = [2 * torch.randn(2, 6, *(8, 7, 9)[:dims]) + 1 for _ in range(2)]
    x = 2 * torch.randn(3, 6, *(9, 6, 7)[:dims], dtype=torch.float64) + 1
    before = model(x)
    report = convert_(model, operator, "1", init="preserve", calibration=calibration)
    assert report.proved == ({"1"} if activation is nn.SiLU else set())
    assert relative(model(x), before) < TOLERANCES[torch.float64]


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD_OPERATORS)
@pytest.mark.parametrize("dims", [1, 3])
def test_networks_of_sound_or_of_volumes_need_no_calibration(operator, dims, trained):
    """Pooling, joining and resizing in one and three dimensions keep what is known of a map."""
    conv, norm, pool = (
        (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d)
        if dims == 1
        else (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d)
    )

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(2, 8, 3, padding=1), norm(8), nn.ReLU())
            self.down = nn.Sequential(pool(2), conv(8, 8, 3, padding=1), norm(8), nn.ReLU())
            self.up = nn.Upsample(scale_factor=2)
            self.head = conv(16, 3, 3, padding=1)

        def forward(self, x):
            x = self.stem(x)
            return self.head(torch.cat([x, self.up(self.down(x))], 1))

    model = trained(Net()).double()
    x = torch.randn(2, 2, *(8,) * dims, dtype=torch.float64)
    before = model(x)
    report = convert_(model, operator, ~where.by_name("stem.*"), init="preserve")
    assert report.replaced == ("down.1", "head")
    assert report.proved == {"down.1", "head"}
    assert relative(model(x), before) < 1e-11


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_half_precision_is_as_good_as_rounded_weights(operator, dtype):
    model = nn.Sequential(nn.SiLU(), nn.Conv2d(8, 16, 3, padding=1, bias=False)).to(dtype).eval()
    # a mean far from zero: the BatchNorm's rounding must not show
    x = (torch.randn(2, 8, 9, 9) + 20).to(dtype)
    exact = copy.deepcopy(model).double()(x.double())
    convert_(model, operator, init="preserve", calibration=[x])
    assert relative(model(x).double(), exact) < TOLERANCES[dtype]


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD_OPERATORS)
def test_inputs_below_the_bound_act_as_the_bound(operator):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).double().eval()
    convolution = model[0]
    calibration = torch.rand(2, 3, 16, 16).double() * 2 - 1
    report = convert_(model, operator, init="preserve", calibration=calibration)
    x = calibration.clone()
    x[:, :, 3, 3] = -50.0
    seen = calibration.amin((0, 2, 3)), calibration.amax((0, 2, 3))
    bound = torch.minimum(2 * seen[0] - seen[1], seen[0] - (seen[1] - seen[0]).mean())
    assert report.lower_bounds["0"] == pytest.approx(bound.max().item())
    clamped = torch.maximum(x, bound.view(1, 3, 1, 1))
    torch.testing.assert_close(model(x), convolution(clamped), rtol=1e-9, atol=1e-9)


def test_lower_bounds():
    seen = Observation(low=torch.tensor([-1.0, 2.0, 0.0]), high=torch.tensor([1.0, 3.0, 0.0]))
    assert lower_bounds(Interval(-0.5, 3.0), seen, 3).tolist() == [-0.5] * 3
    assert lower_bounds(Interval(0.7, 3.0), None, 3).tolist() == [0.0] * 3
    # one calibrated range below the calibrated minimum; at least the mean range of all channels
    assert lower_bounds(UNKNOWN, seen, 3).tolist() == [-3.0, 0.0, -1.0]
    assert lower_bounds(UNKNOWN, None, 3) is None


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("channels", [1, 6, 40])
def test_every_branch_learns(operator, channels):
    """The zeroed layer has a gradient at once, and after one step so does all before it."""
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, 8, 3, padding=1, bias=False)).double()
    data = torch.randn(4, channels, 8, 8).double()
    convert_(model, operator, init="preserve", calibration=[data])
    target = torch.randn(4, 8, 8, 8).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(2):
        optimizer.zero_grad()
        F.mse_loss(model(data), target).backward()
        optimizer.step()
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            assert gradient is not None and gradient.isfinite().all(), name
            # in front of a BatchNorm in training mode a bias has none
            if step == 1 and not name.endswith("attention.conv1.bias"):
                assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_training_goes_on_where_it_was(operator, activation):
    def block(c):
        return [nn.Conv2d(c, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), activation()]

    model = nn.Sequential(*block(3), *block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(8, 5)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    data = torch.rand(48, 3, 8, 8).double()
    # something that can be learnt: which part of the range the image's mean colour lies in
    labels = (data.mean((1, 2, 3)).argsort().argsort() * 5 // 48).long()
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(data), labels).backward()
        optimizer.step()
    loss = F.cross_entropy(model(data), labels).item()
    convert_(model, operator, init="preserve", calibration=data.split(16))
    after = F.cross_entropy(model(data), labels).item()
    assert loss < 1.5
    assert after == pytest.approx(loss, rel=0.02)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(data), labels).backward()
        optimizer.step()
    assert F.cross_entropy(model(data), labels).item() < after


def test_statistics_of_taps_are_those_of_a_batch_norm():
    x = torch.randn(3, 4, 9, 8) * 2 + 100
    for padding_mode in ("zeros", "circular"):
        conv = nn.Conv2d(
            4, 4 * 6, (3, 2), 2, (1, 1), groups=4, bias=False, padding_mode=padding_mode
        )
        with torch.no_grad():
            conv.weight.copy_(torch.eye(6).repeat(4, 1).view_as(conv.weight))
        window = Window.create((3, 2), 2, 1)
        norm = nn.BatchNorm2d(24, momentum=1.0).double()
        norm(conv.double()(x.double()))
        mean, var = tap_statistics(x, window, padding_mode)
        torch.testing.assert_close(mean.flatten(), norm.running_mean, rtol=1e-6, atol=0)
        torch.testing.assert_close(var.flatten(), norm.running_var, rtol=1e-4, atol=0)


def test_no_bias_is_made_where_none_is_needed():
    def build():
        return nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8))

    for operator, calibrated in itertools.product(OPERATORS, (False, True)):
        model = build()
        data = [torch.randn(2, 4, 9, 9)] if calibrated else None
        convert_(model, operator, init="preserve", calibration=data)
        assert model[1].bias is None


def test_unprovable_inputs_ask_for_calibration():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3))
    with pytest.raises(InvalidArgument, match="inputs of 0, 1 have no lower bound"):
        convert_(model, "rfca", init="preserve")
    assert convert_(model, "rfca", "3", init="preserve").replaced == ("3",)
    assert convert_(model, "ca", init="preserve").replaced == ("0", "1")
