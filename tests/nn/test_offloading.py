"""Layers whose weights accelerate keeps elsewhere and brings for each call of each module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import (
    cpu_offload,
    cpu_offload_with_hook,
    disk_offload,
    dispatch_model,
    init_empty_weights,
    load_checkpoint_and_dispatch,
)
from accelerate.big_modeling import attach_layerwise_casting_hooks
from accelerate.hooks import remove_hook_from_submodules
from safetensors.torch import save_file
from torch import Tensor, nn

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

LAYERS: list[tuple[type[nn.Module], int]] = [
    *((kind, 2) for kind in (*CONVOLUTIONS.values(), UnfoldRFAConv2d)),
    *((kind, 1) for kind in (RFAConv1d, RFCBAMConv1d, RFCAConv1d)),
    *((kind, 3) for kind in (RFAConv3d, RFCBAMConv3d, RFCAConv3d)),
]
layers = pytest.mark.parametrize(
    ("kind", "dims"), LAYERS, ids=[kind.__name__ for kind, _ in LAYERS]
)
CPU = torch.device("cpu")
SIZE = (7, 6, 5)


def _network(kind: Any, dims: int) -> nn.Sequential:
    """Two layers of it, with statistics of their own."""
    net = nn.Sequential(kind(8, 8, 3), nn.ReLU(), kind(8, 6, 3, stride=2))
    net(torch.randn(4, 8, *SIZE[:dims]) + 0.5)
    return net.eval()


def _input(dims: int) -> Tensor:
    return torch.randn(2, 8, *SIZE[:dims])


def _assert_same(offloaded: nn.Module, plain: nn.Module, dims: int) -> None:
    for _ in range(2):
        x = _input(dims)
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                torch.testing.assert_close(offloaded(x), plain(x), rtol=1e-5, atol=1e-6)


def _assert_same_input_gradients(offloaded: nn.Module, plain: nn.Module, dims: int) -> None:
    x = _input(dims)
    gradients = []
    for net in (offloaded, plain):
        leaf = x.clone().requires_grad_()
        net(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def _cpu(net: nn.Module, folder: Path) -> nn.Module:
    return cpu_offload(net, execution_device=CPU)


def _cpu_with_buffers(net: nn.Module, folder: Path) -> nn.Module:
    return cpu_offload(net, execution_device=CPU, offload_buffers=True)


def _cpu_preloaded(net: nn.Module, folder: Path) -> nn.Module:
    return cpu_offload(net, execution_device=CPU, preload_module_classes=[type(net[0]).__name__])


def _disk(net: nn.Module, folder: Path) -> nn.Module:
    return disk_offload(net, folder, execution_device=CPU)


def _disk_with_buffers(net: nn.Module, folder: Path) -> nn.Module:
    return disk_offload(net, folder, execution_device=CPU, offload_buffers=True)


def _dispatched(net: nn.Module, folder: Path) -> nn.Module:
    devices = {"0": "cpu", "1": "cpu", "2": "disk"}
    return dispatch_model(net, devices, main_device="cpu", offload_dir=folder)


def _checkpointed(net: nn.Module, folder: Path) -> nn.Module:
    save_file(net.state_dict(), folder / "model.safetensors")
    with init_empty_weights():
        empty = nn.Sequential(*(_empty(layer) for layer in net))
    devices = {"0": "disk", "1": "cpu", "2": "cpu"}
    return load_checkpoint_and_dispatch(
        empty,
        str(folder / "model.safetensors"),
        device_map=devices,
        offload_folder=str(folder / "weights"),
        offload_buffers=True,  # without it the statistics on the disk are not read, of torch's too
    ).eval()


def _empty(layer: Any) -> nn.Module:
    if isinstance(layer, nn.ReLU):
        return nn.ReLU()
    kind, stride = type(layer), layer.stride
    return kind(layer.in_channels, layer.out_channels, 3, stride=stride)  # type: ignore[no-any-return]


WAYS: list[Callable[[Any, Path], nn.Module]] = [
    _cpu, _cpu_with_buffers, _cpu_preloaded, _disk, _disk_with_buffers, _dispatched, _checkpointed,
]  # fmt: skip


@layers
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_equals_the_layer_that_is_not_offloaded(
    kind: Any, dims: int, way: Callable[[Any, Path], nn.Module], tmp_path: Path
) -> None:
    plain = _network(kind, dims)
    offloaded = way(copy.deepcopy(plain), tmp_path)
    _assert_same(offloaded, plain, dims)
    if way is not _cpu_preloaded:
        _assert_same_input_gradients(offloaded, plain, dims)


@layers
def test_offloaded_after_it_has_run_and_brought_back(kind: Any, dims: int, tmp_path: Path) -> None:
    plain = _network(kind, dims)
    net = copy.deepcopy(plain)
    _assert_same(net, plain, dims)
    net, hook = cpu_offload_with_hook(net, execution_device=CPU)
    _assert_same(net, plain, dims)
    hook.remove()
    _assert_same(net, plain, dims)
    net = cpu_offload(net, execution_device=CPU)
    _assert_same(net, plain, dims)
    remove_hook_from_submodules(net)
    _assert_same(net, plain, dims)


@layers
def test_statistics_of_an_offloaded_layer_in_training(kind: Any, dims: int) -> None:
    """The buffers stay where they are, so training mode normalises and counts as ever."""
    plain = _network(kind, dims).train()
    offloaded = cpu_offload(copy.deepcopy(plain), execution_device=CPU)
    x = _input(dims)
    torch.testing.assert_close(offloaded(x), plain(x), rtol=1e-4, atol=1e-5)
    buffers = dict(plain.named_buffers())
    for name, buffer in offloaded.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-4, atol=1e-5, msg=name)


@layers
def test_training_where_everything_is_at_hand(kind: Any, dims: int) -> None:
    plain = _network(kind, dims).train()
    net = dispatch_model(copy.deepcopy(plain), {"": "cpu"}, main_device="cpu", force_hooks=True)
    for step in range(2):
        x = _input(dims)
        for side in (net, plain):
            side.zero_grad()
            side(x).square().sum().backward()
            with torch.no_grad():
                for p in side.parameters():
                    assert p.grad is not None
                    p.sub_(1e-3 * p.grad)
        for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=f"{step}: {name}")


@layers
@pytest.mark.filterwarnings("ignore:.*storage_dtype.*")
def test_weights_stored_in_half_and_computed_in_float(kind: Any, dims: int) -> None:
    plain = _network(kind, dims)
    stored = copy.deepcopy(plain)
    attach_layerwise_casting_hooks(
        stored, storage_dtype=torch.bfloat16, compute_dtype=torch.float32, skip_modules_pattern=()
    )
    assert stored[0].weight.dtype == torch.bfloat16
    assert plain[0].weight.dtype == torch.float32
    with torch.no_grad():  # rounded as the stored ones are
        for p, q in zip(plain.parameters(), stored.parameters(), strict=True):
            p.copy_(q)
        for b, c in zip(plain.buffers(), stored.buffers(), strict=True):
            b.copy_(c)
    _assert_same(stored, plain, dims)
