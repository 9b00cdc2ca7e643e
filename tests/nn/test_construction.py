"""Layers are made, initialised again and called as torch's own are."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import rfaconv.models  # noqa: F401  # registers the networks
from rfaconv.nn import (
    CAM,
    CBAM,
    CONVOLUTIONS,
    SE,
    CoordinateAttention,
    RFAConv1d,
    RFAConv3d,
    RFCAConv1d,
    RFCAConv3d,
    RFCBAMConv1d,
    RFCBAMConv3d,
    UnfoldRFAConv2d,
)

ONE, THREE = (RFAConv1d, RFCBAMConv1d, RFCAConv1d), (RFAConv3d, RFCBAMConv3d, RFCAConv3d)
TWO = (*CONVOLUTIONS.values(), UnfoldRFAConv2d)
TORCHS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LAYERS = [(kind, d) for d, kinds in ((1, ONE), (2, TWO), (3, THREE)) for kind in kinds]
ATTENTIONS = (SE, CAM, CBAM, CoordinateAttention)
SIZE = (9, 8, 7)
layers = pytest.mark.parametrize(
    ("kind", "dims"), LAYERS, ids=[kind.__name__ for kind, _ in LAYERS]
)
attentions = pytest.mark.parametrize("kind", ATTENTIONS, ids=lambda kind: kind.__name__)


def _input(dims: int, channels: int = 8) -> Tensor:
    return torch.randn(2, channels, *SIZE[:dims])


@layers
def test_signature(kind: Any, dims: int) -> None:
    ours = inspect.signature(kind).parameters
    torchs = inspect.signature(TORCHS[dims]).parameters
    names = [name for name in torchs if name not in ("device", "dtype")]
    assert list(ours)[: len(names)] == names
    assert set(torchs) <= set(ours)
    for name, parameter in ours.items():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), name
        assert parameter.annotation not in (parameter.empty, Any, "Any"), name
        default = torchs[name].default if name in torchs else None
        same = name not in torchs or name == "padding" or parameter.default == default
        # the published unfold layer has a kernel of three
        assert same or (kind is UnfoldRFAConv2d and name == "kernel_size"), name


@attentions
def test_signature_of_attention(kind: Any) -> None:
    for name, parameter in inspect.signature(kind).parameters.items():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), name
        assert parameter.annotation not in (parameter.empty, Any, "Any"), name


def _spoilt(layer: nn.Module) -> nn.Module:
    """Everything that an earlier training could have left."""
    with torch.no_grad():
        for t in (*layer.parameters(), *layer.buffers()):
            t.fill_(7)
    return layer


def _reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def _like(layer: nn.Module, fresh: nn.Module) -> None:
    """Asserts the distribution of a new layer, and its statistics."""
    for (name, found), expected in zip(
        layer.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert found.isfinite().all(), name
        if "norm" in name or "bn1" in name:
            assert torch.equal(found, expected), name
        else:
            assert not (found == 7).any(), name
            if found.numel() > 200:
                assert found.abs().max() <= 1.1 * expected.abs().max(), name
                torch.testing.assert_close(found.std(), expected.std(), rtol=0.25, atol=0, msg=name)


@layers
def test_reset_of_the_layer(kind: Any, dims: int) -> None:
    layer = _spoilt(kind(16, 8, 3))
    layer.reset_parameters()
    _like(layer, kind(16, 8, 3))


@layers
def test_reset_of_all_modules(kind: Any, dims: int) -> None:
    layer = _spoilt(nn.Sequential(kind(16, 8, 3)))
    layer.apply(_reset)
    _like(layer, nn.Sequential(kind(16, 8, 3)))


@layers
def test_reset_gives_the_numbers_of_a_new_layer(kind: Any, dims: int) -> None:
    """As of torch's own layers, for one seed."""
    layer = _spoilt(kind(16, 8, 3))
    torch.manual_seed(3)
    layer.reset_parameters()
    torch.manual_seed(3)
    fresh = kind(16, 8, 3)
    for (name, p), expected in zip(layer.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(p, expected), name


@layers
def test_reset_of_a_fused_layer(kind: Any, dims: int) -> None:
    layer = kind(16, 8, 3).eval()
    if not hasattr(layer, "fuse"):
        pytest.skip("the layer has no norm to fold")
    _spoilt(layer.fuse()).apply(_reset)
    for name, p in layer.named_parameters():
        assert p.isfinite().all() and not (p == 7).any(), name
    assert layer(_input(dims, 16)).isfinite().all()


@layers
def test_from_meta(kind: Any, dims: int) -> None:
    layer = kind(16, 8, 3, device="meta")
    assert all(t.is_meta for t in (*layer.parameters(), *layer.buffers()))
    layer.to_empty(device="cpu")
    _spoilt(layer)  # what uninitialised memory may hold
    layer.apply(_reset)
    _like(layer, kind(16, 8, 3))
    assert layer.eval()(_input(dims, 16)).isfinite().all()


@attentions
def test_reset_of_attention(kind: Any) -> None:
    module = _spoilt(kind(32))
    module.apply(_reset)
    _like(module, kind(32))


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca", "cam", "cbam", "ca"])
def test_network_from_meta(operator: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(f"{operator}_resnet18", num_classes=4)
    network.to_empty(device="cpu")
    _spoilt(network)
    network.apply(_reset)
    network.init_weights()
    fresh = timm.create_model(f"{operator}_resnet18", num_classes=4)
    fresh.apply(_reset)
    fresh.init_weights()
    expected = fresh.state_dict()
    for name, found in network.state_dict().items():
        assert found.isfinite().all(), name
        assert not found.is_floating_point() or not (found == 7).any(), name
        if expected[name].numel() > 1000:
            torch.testing.assert_close(
                found.std(), expected[name].std(), rtol=0.2, atol=1e-8, msg=name
            )
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca", "cam", "cbam", "ca"])
def test_folds_of_a_cross_validation(operator: str) -> None:
    """Nothing of one fold is left in the next."""
    network = timm.create_model(f"{operator}_resnet18", num_classes=4)
    with torch.no_grad():
        network(torch.randn(4, 3, 64, 64) * 5 + 3)
        for p in network.parameters():
            p.add_(0.37)
    before = copy.deepcopy(network.state_dict())
    network.apply(_reset)
    same = [name for name, t in network.state_dict().items() if torch.equal(t, before[name])]
    assert not same


NUMPY: list[dict[str, Any]] = [
    {"kernel_size": np.int64(3)},
    {"kernel_size": np.int32(5), "stride": np.int64(2), "padding": np.uint8(2)},
    {"kernel_size": np.int64(3), "dilation": np.int64(2), "groups": np.int64(2)},
    {"kernel_size": (np.int64(3),), "stride": (np.int64(2),), "padding": (np.int64(1),)},
    {"kernel_size": np.array([3]), "stride": np.array([2])},
]


@layers
@pytest.mark.parametrize("arguments", NUMPY, ids=str)
def test_numpy_integers(kind: Any, dims: int, arguments: dict[str, Any]) -> None:
    def repeated(value: Any) -> Any:
        return tuple(value) * dims if isinstance(value, (tuple, np.ndarray)) else value

    def plain(value: Any) -> Any:
        return tuple(map(int, value)) if isinstance(value, tuple) else int(value)

    numpy = {name: repeated(value) for name, value in arguments.items()}
    layer = kind(np.int64(8), np.int32(6), **numpy, bias=np.bool_(True))
    twin = kind(8, 6, **{name: plain(value) for name, value in numpy.items()})
    twin.load_state_dict(layer.state_dict())
    x = _input(dims)
    torch.testing.assert_close(layer(x), twin(x))
    torch.testing.assert_close(layer.eval()(x), twin.eval()(x))
    assert repr(layer) == repr(twin)


@attentions
def test_numpy_integers_of_attention(kind: Any) -> None:
    assert kind(np.int64(32), np.int64(4))(torch.randn(2, 32, 5, 4)).shape == (2, 32, 5, 4)


def test_numpy_integers_of_the_attention_of_a_layer() -> None:
    x = torch.randn(2, 8, 5, 4)
    cbam = CONVOLUTIONS["cbam"]
    layer = cbam(8, 6, 3, reduction=np.int64(2), spatial_kernel_size=np.int64(5))
    assert layer(x).shape == (2, 6, 5, 4)
    assert CONVOLUTIONS["ca"](8, 6, 3, reduction=np.int64(2))(x).shape == (2, 6, 5, 4)


@layers
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"stride": 2}, {"padding_mode": "reflect", "padding": 1}, {"groups": 2, "bias": False}],
    ids=str,
)
def test_unbatched_input(kind: Any, dims: int, training: bool, arguments: dict[str, Any]) -> None:
    layer = kind(8, 6, 3, **arguments).train(training)
    twin = copy.deepcopy(layer)
    x = _input(dims)[0]
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            y, expected = layer(x), twin(x[None])[0]
        assert (
            y.shape == TORCHS[dims](8, 6, 3, padding=1, stride=arguments.get("stride", 1))(x).shape
        )
        torch.testing.assert_close(y, expected)
    for (name, b), expected in zip(layer.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(b, expected, msg=name)
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.shape == x.shape


@layers
@pytest.mark.parametrize("off", [-1, 2])
def test_inputs_of_other_ranks(kind: Any, dims: int, off: int) -> None:
    layer = kind(8, 6, 3)
    x = torch.randn(*(8,) * (dims + 1 + off))
    for training in (True, False):
        with pytest.raises(ValueError, match="input"):
            layer.train(training)(x)


@layers
def test_synchronised_norms(kind: Any, dims: int) -> None:
    layer = nn.Sequential(kind(8, 6, 3))
    layer(_input(dims))
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(layer))
    assert twin.state_dict().keys() == layer.state_dict().keys()
    norms = [m for m in layer.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == sum(isinstance(m, nn.SyncBatchNorm) for m in twin.modules())
    x = _input(dims)
    for training in (True, False, True):
        torch.testing.assert_close(twin.train(training)(x), layer.train(training)(x))
    for (name, b), expected in zip(twin.named_buffers(), layer.buffers(), strict=True):
        torch.testing.assert_close(b, expected, msg=name)
