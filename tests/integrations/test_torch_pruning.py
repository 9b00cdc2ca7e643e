"""Networks with operators pruned by torch-pruning, and the layers that it narrows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn import CAM, CBAM, CONVOLUTIONS, SE, CoordinateAttention, UnfoldRFAConv2d

tp = pytest.importorskip("torch_pruning")

from rfaconv.integrations.torch_pruning import keep_inputs, pruning_arguments  # noqa: E402

LAYERS: dict[str, Any] = {**CONVOLUTIONS, "unfold": UnfoldRFAConv2d}
KEEP = [0, 2, 5, 6]
GONE = [1, 3, 4, 7]


def settled(layer: nn.Module) -> Any:
    """In evaluation, with statistics and gates that differ between channels."""
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    layer.train()
    for _ in range(3):
        layer(torch.randn(4, 8, 7, 6) + torch.arange(8.0).view(8, 1, 1) / 4)
    return layer.eval()


def without(layer: Any, gone: list[int]) -> Any:
    """A copy that neither projects some channels nor lets them into gates of other channels."""
    layer = copy.deepcopy(layer)
    size = layer.in_channels // layer.groups
    rows = layer.out_channels // layer.groups
    with torch.no_grad():
        for channel in gone:
            group = channel // size
            layer.weight[group * rows : (group + 1) * rows, channel % size] = 0
        for name in ("attention.fc1", "attention.conv1"):
            if name in dict(layer.named_modules()):
                layer.get_submodule(name).weight[:, gone] = 0
    return layer


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["rfa", "rfca", "cam", "ca", "unfold"])
def test_a_narrowed_layer_is_the_layer_without_these_channels(
    name: str, groups: int, fused: bool
) -> None:
    layer = settled(LAYERS[name](8, 6, 3, stride=2, groups=groups))
    if fused and hasattr(layer, "fuse"):
        layer.fuse()
    x = torch.randn(2, 8, 7, 6)
    expected = without(layer, GONE)(x)
    keep_inputs(layer, KEEP)
    assert (layer.in_channels, layer.weight.shape[1]) == (4, 4 // groups)
    torch.testing.assert_close(layer(x[:, KEEP]), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_narrowed_layer_is_one_of_that_size(name: str) -> None:
    layer = settled(LAYERS[name](8, 6, 3))
    keep_inputs(layer, KEEP)
    settings: dict[str, Any] = {}
    if name in ("cam", "cbam"):
        settings["reduction"] = 4  # 8 // 16 hidden channels are at least one, 4 // 4 too
    small = LAYERS[name](4, 6, 3, **settings)
    small.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 7, 6)
    torch.testing.assert_close(layer(x), small.eval()(x), rtol=0, atol=0)
    torch.testing.assert_close(layer.train()(x), small.train()(x), rtol=0, atol=0)
    assert repr(layer) == repr(small)


def test_gradients_and_frozen_parameters_stay() -> None:
    layer = LAYERS["rfcbam"](8, 6, 3)
    layer.weight.requires_grad_(False)
    layer(torch.randn(2, 8, 5, 5)).sum().backward()
    before = layer.feature_weight.grad.unflatten(0, (8, 9))[KEEP].flatten(0, 1)
    keep_inputs(layer, KEEP)
    assert not layer.weight.requires_grad and layer.weight.grad is None
    torch.testing.assert_close(layer.feature_weight.grad, before, rtol=0, atol=0)


@pytest.mark.parametrize("keep", [[], [0, 0], [2, 1], [-1, 2], [0, 8], [0, 1, 4]])
def test_channels_that_cannot_be_kept(keep: list[int]) -> None:
    layer = LAYERS["rfa"](8, 6, 3, groups=2)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(InvalidArgument, match="keep: expected"):
        keep_inputs(layer, keep)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def network(name: str) -> nn.Module:
    make = LAYERS[name]
    return nn.Sequential(
        make(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), make(8, 16, 3, stride=2, groups=2),
        Residual(nn.Sequential(make(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


@pytest.mark.parametrize("name", LAYERS)
def test_a_network_pruned_in_two_steps(name: str) -> None:
    torch.manual_seed(0)
    model, image = network(name), torch.randn(1, 3, 12, 12)
    head = model[-1]
    pruner = tp.pruner.MagnitudePruner(
        model, image, tp.importance.MagnitudeImportance(), pruning_ratio=0.5, iterative_steps=2,
        ignored_layers=[head], **pruning_arguments(model),
    )  # fmt: skip
    assert "forward" not in vars(model[0])
    for _ in range(2):
        pruner.step()
        model.train()
        model(torch.randn(4, 3, 12, 12)).sum().backward()
    sizes = [(layer.in_channels, layer.out_channels) for layer in (model[0], model[3])]
    assert sizes == [(3, 4), (4, 8)]
    assert head.in_features == 8
    assert model.eval()(image).shape == (1, 5)
    # what an optimizer and a checkpoint see are the new parameters
    copied = copy.deepcopy(model)
    copied.load_state_dict(model.state_dict())
    assert all(p.grad is not None for p in model.parameters())


def test_the_weakest_outputs_go() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(LAYERS["rfa"](3, 8, 3), nn.ReLU(), LAYERS["rfca"](8, 4, 3))
    with torch.no_grad():
        model[0].weight[GONE] *= 1e-3
    kept, image = model[0].weight[KEEP], torch.randn(2, 3, 9, 9)
    features = model[2].feature_weight.unflatten(0, (8, 9))[KEEP]
    tp.pruner.MagnitudePruner(
        model, image, tp.importance.MagnitudeImportance(), pruning_ratio=0.5,
        ignored_layers=[model[2]], **pruning_arguments(model),
    ).step()  # fmt: skip
    torch.testing.assert_close(model[0].weight, kept, rtol=0, atol=0)
    torch.testing.assert_close(model[2].feature_weight.unflatten(0, (4, 9)), features)


@pytest.mark.parametrize("make", [CAM, CBAM, CoordinateAttention, SE])
def test_attention_modules_alone(make: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), make(16), nn.Conv2d(16, 4, 3))
    tp.pruner.MagnitudePruner(
        model, torch.randn(1, 3, 9, 9), tp.importance.MagnitudeImportance(), pruning_ratio=0.25,
        ignored_layers=[model[2]], **pruning_arguments(model),
    ).step()  # fmt: skip
    assert model[0].out_channels == 12
    assert model(torch.randn(1, 3, 9, 9)).shape == (1, 4, 5, 5)


def test_depthwise_layers_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), LAYERS["rfa"](8, 8, 3, groups=8))
    with pytest.raises(InvalidArgument, match=r"1\.groups: expected fewer groups"):
        pruning_arguments(model)
