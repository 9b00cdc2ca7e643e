"""Every operator layer as a drop-in for ``nn.Conv2d``: geometry, dtypes, layouts, bad input."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from rfaconv import InvalidArgument
from rfaconv.nn import (
    CONVOLUTIONS,
    RFAConv1d,
    RFAConv3d,
    RFCAConv1d,
    RFCAConv3d,
    RFCBAMConv1d,
    RFCBAMConv3d,
    UnfoldRFAConv2d,
)

LAYERS = [*CONVOLUTIONS.values(), UnfoldRFAConv2d]
layers = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)

GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 1},
    {"kernel_size": 2, "padding": 0},
    {"kernel_size": 4, "padding": "same"},
    {"kernel_size": (5, 3), "stride": (2, 1), "padding": (2, 0)},
    {"kernel_size": 7, "padding": 3},
    {"kernel_size": 6, "stride": 3, "padding": 2},
    {"kernel_size": 3, "dilation": (2, 1), "padding": "valid"},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "bias": False, "padding": 2},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
]


@layers
class TestLikeConv2d:
    # torch warns of the copy that its own convolution makes for padding="same"
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
    @pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
    def test_output_size_and_final_parameters(self, layer, geometry):
        ours = layer(4, 6, **geometry)
        defaults = {"padding": ours.padding} if "padding" not in geometry else {}
        stock = nn.Conv2d(4, 6, **geometry, **defaults)
        x = torch.randn(2, 4, 9, 10)
        assert isinstance(ours, nn.Conv2d)
        assert ours(x).shape == stock(x).shape
        assert ours.weight.shape == stock.weight.shape
        assert (ours.bias is None) == (stock.bias is None)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("shape", [(1, 20, 1, 1), (0, 20, 5, 4), (1, 20, 5, 4)], ids=str)
    def test_small_inputs(self, layer, shape, training):
        ours = layer(20, 6, 3).train(training)
        before = {k: v.clone() for k, v in ours.named_buffers()}
        y = ours(torch.randn(shape))
        assert y.shape == (shape[0], 6, *shape[2:])
        assert torch.isfinite(y).all()
        for name, value in ours.named_buffers():
            assert torch.isfinite(value).all(), name
            if shape[0] == 0 and value.is_floating_point():
                torch.testing.assert_close(value, before[name])

    def test_few_channels(self, layer):
        ours = layer(1, 2, 3)
        assert ours(torch.randn(2, 1, 4, 5)).shape == (2, 2, 4, 5)

    def test_every_parameter_gets_a_gradient(self, layer):
        ours = layer(20, 6, 3)
        ours(torch.randn(2, 20, 5, 6)).square().sum().backward()
        missing = [name for name, p in ours.named_parameters() if p.grad is None]
        assert not missing

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("training", [True, False])
    def test_dtypes(self, layer, dtype, training):
        ours = layer(8, 6, 3, dtype=dtype).train(training)
        exact = copy.deepcopy(ours).double()
        x = torch.randn(2, 8, 6, 5, dtype=dtype)
        y = ours(x)
        assert y.dtype == dtype
        expected = exact(x.double())
        error = (y.double() - expected).abs().max() / expected.abs().max()
        assert error < {torch.float64: 1e-12, torch.bfloat16: 4e-2, torch.float16: 4e-3}[dtype]

    @pytest.mark.parametrize("training", [True, False])
    def test_autocast(self, layer, training):
        ours = layer(8, 6, 3).train(training)
        x = torch.randn(2, 8, 6, 5)
        expected = copy.deepcopy(ours)(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = ours(x)
        assert y.dtype == torch.bfloat16
        y.float().sum().backward()
        torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)

    def test_channels_last_gives_the_same(self, layer):
        ours = layer(8, 6, 3).eval()
        x = torch.randn(2, 8, 6, 5)
        y = ours(x)
        last = ours.to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), y)

    def test_a_view_with_odd_strides(self, layer):
        ours = layer(8, 6, 3).eval()
        big = torch.randn(4, 20, 12, 15)
        x = big[::2, 3:11, 1:11:2, ::3]
        torch.testing.assert_close(ours(x), ours(x.contiguous()))

    def test_geometry_is_read_when_called(self, layer):
        ours = layer(4, 6, 3, stride=2, padding=1).eval()
        x = torch.randn(1, 4, 9, 9)
        ours.stride, ours.dilation, ours.padding = (1, 1), (2, 2), (2, 2)
        again = layer(4, 6, 3, dilation=2, padding=2).eval()
        again.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x), again(x))

    def test_meta_device(self, layer):
        ours = layer(4, 6, 3, device="meta")
        assert all(p.is_meta for p in ours.parameters())
        ours = ours.to_empty(device="cpu")
        assert ours.weight.shape == (6, 4, 3, 3)

    def test_state_round_trip_copy_and_pickle(self, layer):
        ours = layer(4, 6, 3)
        x = torch.randn(2, 4, 5, 6)
        ours(x)
        ours.eval()
        other = layer(4, 6, 3).eval()
        buffer = io.BytesIO()
        torch.save(ours.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        for twin in (other, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            torch.testing.assert_close(twin(x), ours(x))

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    def test_compiles_to_one_graph(self, layer):
        ours = layer(4, 6, 3)
        x = torch.randn(2, 4, 5, 6)
        expected = copy.deepcopy(ours)(x)
        actual = torch.compile(ours, fullgraph=True, backend="aot_eager")(x)
        torch.testing.assert_close(actual, expected)
        actual.sum().backward()
        assert all(p.grad is not None for p in ours.parameters())

    def test_graph_tracing(self, layer):
        ours = layer(4, 6, 3).eval()
        graph = torch.fx.symbolic_trace(ours)
        x = torch.randn(2, 4, 5, 6)
        torch.testing.assert_close(graph(x), ours(x))
        other = torch.randn(1, 4, 8, 7)
        torch.testing.assert_close(graph(other), ours(other))

    def test_functional_transforms(self, layer):
        ours = layer(4, 6, 3).eval()
        x = torch.randn(3, 1, 4, 5, 6)
        per_sample = torch.func.vmap(ours)(x)
        torch.testing.assert_close(per_sample[:, 0], ours(x[:, 0]))
        gradient = torch.func.grad(lambda v: ours(v).sum())(x[0])
        leaf = x[0].clone().requires_grad_()
        ours(leaf).sum().backward()
        torch.testing.assert_close(gradient, leaf.grad)

    def test_sync_batch_norm_conversion_keeps_evaluation(self, layer):
        ours = layer(4, 6, 3).eval()
        x = torch.randn(2, 4, 5, 6)
        expected = ours(x)
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(ours)).eval()
        torch.testing.assert_close(converted(x), expected)


BAD_ARGUMENTS = [
    ({"kernel_size": 0}, "kernel_size: expected an int or 2 ints, each at least 1, got 0"),
    ({"kernel_size": (3, 3, 3)}, r"kernel_size: expected .*got \(3, 3, 3\)"),
    ({"kernel_size": 3, "stride": -1}, "stride: expected"),
    ({"kernel_size": 3, "stride": 1.5}, "stride: expected .*1.5"),
    ({"kernel_size": 3, "padding": -1}, "padding: expected"),
    ({"kernel_size": 3, "padding": "full"}, "padding: expected 'same', 'valid'.*'full'"),
    ({"kernel_size": 3, "padding": "same", "stride": 2}, "padding: expected .*stride is not 1"),
    ({"kernel_size": 3, "dilation": 0}, "dilation: expected"),
    ({"kernel_size": 3, "groups": 3}, "groups: expected a divisor of in_channels, 4, got 3"),
    ({"kernel_size": 3, "groups": 4}, "groups: expected a divisor of out_channels, 6, got 4"),
    ({"kernel_size": 3, "padding_mode": "mirror"}, "padding_mode: expected one of zeros.*mirror"),
    ({"kernel_size": 3, "dtype": torch.int64}, "dtype: expected a floating point dtype"),
]


@layers
class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"), BAD_ARGUMENTS, ids=[m for _, m in BAD_ARGUMENTS]
    )
    def test_arguments(self, layer, arguments, message):
        with pytest.raises(InvalidArgument, match=message):
            layer(4, 6, **arguments)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.zeros(5, 6), r"input: expected a 4-D tensor \(B, C, H, W\), got .*5, 6"),
            (torch.zeros(2, 3, 5, 6), r"input: expected 4 channels .*\(2, 3, 5, 6\)"),
            (torch.zeros(2, 4, 5, 6, dtype=torch.int64), "input: expected a floating point dtype"),
            (
                torch.zeros(2, 4, 5, 6, dtype=torch.float64),
                "input: expected the dtype of the weight",
            ),
            (torch.zeros(2, 4, 2, 6), "input: expected a padded map at least as large"),
        ],
        ids=["rank", "channels", "integer", "dtype", "size"],
    )
    def test_inputs(self, layer, x, message):
        ours = layer(4, 6, 5, padding=1)
        before = copy.deepcopy(ours.state_dict())
        with pytest.raises(InvalidArgument, match=message):
            ours(x)
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, before[name])

    def test_unknown_backend(self, layer):
        if "backend" not in layer(4, 6, 3).__dict__:
            with pytest.raises(TypeError):
                layer(4, 6, 3, backend="cpu")
            return
        with pytest.raises(
            InvalidArgument, match=r"backend: expected one of auto.*did you mean triton"
        ):
            layer(4, 6, 3, backend="tritn")(torch.zeros(1, 4, 5, 6))


ONE = [RFAConv1d, RFCBAMConv1d, RFCAConv1d]
THREE = [RFAConv3d, RFCBAMConv3d, RFCAConv3d]


@pytest.mark.parametrize("layer", ONE, ids=lambda layer: layer.__name__)
def test_one_dimension_equals_two_with_a_flat_one(layer):
    """A row of pixels is a map of height one."""
    one = layer(4, 6, 3, stride=2, dtype=torch.float64)
    assert isinstance(one, nn.Conv1d)
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    assert one(x).shape == nn.Conv1d(4, 6, 3, 2, 1)(x.float()).shape
    if layer is RFAConv1d:
        two = CONVOLUTIONS["rfa"](4, 6, (1, 3), (1, 2), (0, 1), dtype=torch.float64)
        state = {k: v.unsqueeze(2) if v.dim() == 3 else v for k, v in one.state_dict().items()}
        two.load_state_dict(state)
        torch.testing.assert_close(two(x.unsqueeze(2)).squeeze(2), one(x))


@pytest.mark.parametrize("layer", THREE, ids=lambda layer: layer.__name__)
def test_three_dimensions_train(layer):
    ours = layer(3, 4, (3, 2, 1), stride=(1, 2, 1), padding=(1, 0, 0), groups=1)
    assert isinstance(ours, nn.Conv3d)
    x = torch.randn(2, 3, 4, 5, 6)
    y = ours(x)
    assert y.shape == nn.Conv3d(3, 4, (3, 2, 1), (1, 2, 1), (1, 0, 0))(x).shape
    y.sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_three_dimensional_rfa_equals_two_on_a_flat_volume():
    three = RFAConv3d(3, 4, (1, 3, 3), padding=(0, 1, 1), dtype=torch.float64)
    two = CONVOLUTIONS["rfa"](3, 4, 3, dtype=torch.float64)
    two.load_state_dict(
        {k: v.squeeze(2) if v.dim() == 5 else v for k, v in three.state_dict().items()}
    )
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(three(x.unsqueeze(2)).squeeze(2), two(x))
