"""What a conversion keeps, reports and refuses."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from rfaconv.errors import InvalidArgument
from rfaconv.nn import CONVOLUTIONS
from rfaconv.surgery import convert_, where
from rfaconv.surgery.layers import LAYERS
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 12, (3, 5), 2, (1, 2), groups=4), nn.ReLU()),
        nn.Conv2d(12, 6, 1),
        nn.Conv2d(6, 6, 3, padding="same", dilation=2, padding_mode="reflect"),
    )


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return state, [(name, type(m), m.training) for name, m in model.named_modules()]


def assert_same(before, model):
    state, modules = snapshot(model)
    assert before[1] == modules
    assert before[0].keys() == state.keys()
    assert all(torch.equal(before[0][name], state[name]) for name in state)


@pytest.mark.parametrize("operator", OPERATORS)
def test_fresh_keeps_geometry(operator):
    model = small_network()
    old = dict(model.named_modules())
    report = convert_(model, operator)
    assert report.replaced == ("0", "3.0", "5")
    assert report.skipped == {"4": "not selected by spatial"}
    assert report.operator == operator
    for name in report.replaced:
        new = model.get_submodule(name)
        assert type(new) is CONVOLUTIONS[operator]
        for attribute in [
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "groups",
            "padding_mode",
        ]:
            assert getattr(new, attribute) == getattr(old[name], attribute)
        assert (new.bias is None) == (old[name].bias is None)
    size = torch.Size([2, 6, 5, 4])
    assert model(torch.randn(2, 3, 9, 8)).shape == size


def test_bias_of_fresh_layers():
    model = small_network()
    convert_(model, "rfa", bias=True)
    assert model[0].bias is not None
    convert_(other := small_network(), "cam", bias=False)
    assert other[3][0].bias is None


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("init", ["fresh", "preserve"])
def test_everything_that_hung_on_the_convolution_is_kept(operator, init):
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3)).double()
    conv = model[1]
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    conv.bias.requires_grad_(False)
    conv.eval()
    conv.i, conv.f, conv.type, conv.np = 3, -1, "Conv", 222
    conv.register_buffer("total_ops", torch.ones(1))
    seen = []
    handle = conv.register_forward_hook(lambda m, args, out: seen.append((m, out.shape)))
    conv.register_forward_pre_hook(lambda m, args: seen.append("pre"))
    kept = conv.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append("pre with kwargs"), with_kwargs=True
    )
    convert_(model, operator, init=init)
    new = model[1]
    assert new is not conv
    assert new.weight.dtype == torch.float64
    assert all(p.dtype == torch.float64 for p in new.parameters())
    assert new.weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(m.training for m in new.modules())
    assert model.training
    assert not new.bias.requires_grad
    assert all(p.requires_grad for name, p in new.named_parameters() if name != "bias")
    assert (new.i, new.f, new.type, new.np) == (3, -1, "Conv", 222)
    assert "total_ops" in dict(new.named_buffers())
    seen.clear()  # the run that proves bounds calls the hooks as well
    y = model(torch.randn(2, 4, 5, 5).double())
    assert seen == ["pre", "pre with kwargs", (new, y.shape)]
    handle.remove()
    kept.remove()
    seen.clear()
    model(torch.randn(2, 4, 5, 5).double())
    assert seen == ["pre"]


def test_frozen_stays_frozen():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3)).requires_grad_(False)
    convert_(model, "rfca", init="preserve")
    assert not any(p.requires_grad for p in model.parameters())


def test_meta_and_half():
    with torch.device("meta"):
        model = small_network()
    convert_(model, "rfcbam")
    assert all(p.is_meta for p in model.parameters())
    with pytest.raises(InvalidArgument, match="init: expected 'fresh' for a model on the meta"):
        convert_(nn.Sequential(nn.Conv2d(2, 2, 3, device="meta")), "rfa", init="preserve")
    half = small_network().bfloat16()
    convert_(half, "rfa")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_shared_module_is_replaced_everywhere():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(nn.ReLU(), shared, nn.ReLU(), nn.ModuleDict({"again": shared})["again"])
    x = torch.randn(1, 4, 6, 6)
    before = model.eval()(x)
    report = convert_(model, "rfa", init="preserve")
    assert report.replaced == ("1",)
    assert model[1] is model[3]
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


class Merging(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.conv(x)

    def switch_to_deploy(self):
        raise NotImplementedError


def test_reasons_for_skipping():
    tied = nn.Conv2d(4, 4, 3)
    twin = nn.Conv2d(4, 4, 3)
    twin.weight = tied.weight
    model = nn.ModuleDict(
        {
            "own": OwnForward(4, 4, 3),
            "lazy": nn.LazyConv2d(4, 3),
            "pruned": prune.identity(nn.Conv2d(4, 4, 3), "weight"),
            "parametrized": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
            "tied": tied,
            "twin": twin,
            "merging": Merging(),
            "complex": nn.Conv2d(4, 4, 3, dtype=torch.complex64),
            "good": nn.Conv2d(4, 4, 3),
        }
    )
    before = list(model)
    report = convert_(model, "rfa")
    assert report.replaced == ("good",)
    expected = {
        "own": "OwnForward computes something else",
        "lazy": "lazy",
        "pruned": "computed by a hook",
        "parametrized": "parametrized",
        "tied": "shares its parameters",
        "twin": "shares its parameters",
        "merging.conv": "Merging.switch_to_deploy reads its weight",
        "complex": "not a real floating point",
    }
    assert report.skipped.keys() == expected.keys()
    for name, text in expected.items():
        assert text in report.skipped[name]
    assert list(model) == before
    assert "own: " in str(report)


@pytest.mark.parametrize("operator", OPERATORS)
def test_converting_again_leaves_the_operators_whole(operator):
    model = small_network()
    convert_(model, operator)
    before = snapshot(model)
    with pytest.raises(InvalidArgument, match=r"model: .*is \w+ of this library already"):
        convert_(model, "rfa", where=where.everything & ~where.by_name("4"))
    assert_same(before, model)


@pytest.mark.parametrize(
    ("model", "operator", "chosen", "message"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "rfa", where.spatial,
            r"model: .* got none \(it has 2 Linear, 1 ReLU\)",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv1d(2, 2, 1)), "rfa", where.spatial,
            r"where: .*got 2 convolutions and none of them \(2: not selected by spatial\)",
        ),
        (
            nn.Sequential(nn.Conv1d(2, 2, 3), nn.Conv3d(2, 2, 3)), "cbam", where.spatial,
            r"model: .*1: cbam has no layer of 1 dimension; 1: cbam has no layer of 3 dimensions",
        ),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 3)), "rfa", where.spatial, "1 ConvTranspose2d"),
    ],
)  # fmt: skip
def test_nothing_to_replace_is_an_error_that_says_what_was_found(model, operator, chosen, message):
    before = snapshot(model)
    with pytest.raises(InvalidArgument, match=message):
        convert_(model, operator, chosen)
    assert_same(before, model)


@pytest.mark.parametrize("operator", RECEPTIVE_FIELD_OPERATORS)
def test_dimensions_side_by_side(operator):
    model = nn.ModuleDict(
        {
            "one": nn.Conv1d(4, 6, 5, 2, 2, groups=2),
            "two": nn.Conv2d(4, 6, 3),
            "three": nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1), bias=False),
            "point": nn.Conv3d(4, 6, 1),
        }
    )
    report = convert_(model, operator)
    assert report.replaced == ("one", "two", "three")
    assert [type(model[name]) for name in report.replaced] == list(LAYERS[operator].values())
    assert model["one"](torch.randn(2, 4, 9)).shape == (2, 6, 5)
    assert model["three"](torch.randn(2, 4, 2, 5, 4)).shape == (2, 6, 2, 5, 4)
    assert model["three"].bias is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "rfcbm"}, r"operator: expected one of .*did you mean rfcbam.*got 'rfcbm'"),
        ({"operator": None}, "operator: expected one of"),
        ({"init": "preserved"}, "init: expected one of fresh, preserve .*did you mean preserve"),
        ({"where": 3}, "where: expected a predicate"),
        ({"where": "5.conv"}, r"where: expected a pattern that matches one of the 4 convolutions"),
        ({"calibration": torch.ones(1, 3, 8, 8)}, "calibration: expected None with init='fresh'"),
        ({"init": "preserve", "calibration": 3}, "calibration: expected an iterable"),
        ({"init": "preserve", "calibration": []}, "calibration: expected at least one batch"),
        ({"init": "preserve", "calibration": [None]}, "calibration: expected batches that are"),
        ({"init": "preserve"}, "calibration: .*inputs of 0, 5 have no lower bound"),
        (
            {"init": "preserve", "calibration": torch.full((1, 3, 8, 8), float("nan"))},
            "calibration: expected finite values at the input of 0",
        ),
        ({"init": "preserve", "bias": True}, "bias: expected None"),
        ({"bias": 1}, "bias: expected None, or with init='fresh' a bool"),
    ],
)
def test_bad_arguments_change_nothing(arguments, message):
    model = small_network()
    model[1].eval()
    before = snapshot(model)
    with pytest.raises(InvalidArgument, match=message):
        convert_(model, **{"operator": "rfa", **arguments})
    assert_same(before, model)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_bad_models():
    with pytest.raises(InvalidArgument, match=r"model: expected a torch.nn.Module, got a int"):
        convert_(3, "rfa")
    with pytest.raises(InvalidArgument, match=r"wrap a single one in nn.Sequential"):
        convert_(nn.Conv2d(2, 2, 3), "rfa")


def test_a_network_that_fails_in_calibration_is_left_alone():
    model = small_network()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="channels"):
        convert_(model, "rfa", init="preserve", calibration=[torch.ones(1, 5, 8, 8)])
    assert_same(before, model)
    with pytest.raises(InvalidArgument, match="does not run on an example of shape"):
        convert_(
            nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 2, 2)),
            "rfa",
            init="preserve",
        )


def test_calibration_batches_come_in_many_forms():
    images = torch.randn(4, 3, 8, 8)
    loader = torch.utils.data.DataLoader(list(zip(images, range(4), strict=True)), batch_size=2)
    for batches in (images, [images], iter([images]), loader, [{"input": images}]):
        model = small_network()
        report = convert_(model, "rfa", init="preserve", calibration=batches)
        assert len(report.replaced) == 3


def test_report_of_preserving_names_the_bounds():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    model.append(nn.Conv2d(4, 4, 3))
    report = convert_(model, "rfa", init="preserve", calibration=[torch.randn(2, 3, 12, 12)])
    assert report.proved == {"2", "4"}
    assert report.lower_bounds["2"] == pytest.approx(-0.278465, abs=1e-5)
    assert report.lower_bounds["4"] == 0
    assert report.lower_bounds["0"] < -3
    assert "(calibrated)" in str(report)


def test_convolutions_that_do_not_run_are_skipped():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.training_only = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = x.relu()
            return self.main(x) + self.training_only(x) if self.training else self.main(x)

    report = convert_(Auxiliary(), "rfa", init="preserve")
    assert report.replaced == ("main",)
    assert "did not run" in report.skipped["training_only"]
    assert len(convert_(Auxiliary(), "cam", init="preserve").replaced) == 2
