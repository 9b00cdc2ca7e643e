"""SyncBatchNorm over two processes: the moments are averaged, so it equals one large batch."""

import copy
import os
import socket

import pytest
import torch
from torch import distributed, multiprocessing, nn

from rfaconv.lab.training.synced import synchronise_
from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d
from rfaconv.reference.parity import assert_parity

LAYERS = {
    **{k: CONVOLUTIONS[k] for k in ("rfa", "rfcbam", "rfca", "ca")},
    "unfold": UnfoldRFAConv2d,
}
# of six images one process has two, the other four
SPLITS = (slice(0, 2), slice(2, 6))


def _step(layer, x, target):
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * target).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    return y.detach(), x.grad, gradients, dict(layer.named_buffers())


def _worker(rank, port, layers, x, target, splits, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    part = splits[rank]
    results[rank] = {
        # the tensors that came along are shared by both processes
        name: _step(copy.deepcopy(layer), x[part], target[part])
        for name, layer in layers.items()
    }
    distributed.barrier()
    distributed.destroy_process_group()


def _two_processes(layers, x, target, splits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        arguments = (port, layers, x, target, splits, results)
        multiprocessing.spawn(_worker, arguments, nprocs=2, join=True)
        return [results[0], results[1]]


def test_two_processes_equal_one_batch():
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 6, dtype=torch.float64) + 3
    target = torch.randn(6, 6, 5, 6, dtype=torch.float64)
    layers = {name: layer(4, 6, 3, dtype=torch.float64) for name, layer in LAYERS.items()}
    # torch's own SyncBatchNorm does not run on CPU: the one that CAConv and RFCAConv have inside
    # coordinate attention stays local here, in evaluation mode
    for layer in layers.values():
        if hasattr(layer, "attention"):
            layer.attention.eval()
    synced = {}
    for name, layer in layers.items():
        twin = copy.deepcopy(layer)
        if hasattr(twin, "feature_norm"):
            twin.feature_norm = nn.SyncBatchNorm.convert_sync_batchnorm(twin.feature_norm)
        if hasattr(twin, "attention_norm"):
            twin.attention_norm = nn.SyncBatchNorm.convert_sync_batchnorm(twin.attention_norm)
        synced[name] = twin
    parts = _two_processes(synced, x, target, SPLITS)
    for name, layer in layers.items():
        expected_y, expected_dx, expected_gradients, expected_buffers = _step(layer, x, target)
        y, dx = (torch.cat([part[name][i] for part in parts]) for i in (0, 1))
        torch.testing.assert_close(y, expected_y, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(dx, expected_dx, rtol=1e-9, atol=1e-9)
        for key, expected in expected_gradients.items():
            total = parts[0][name][2][key] + parts[1][name][2][key]
            torch.testing.assert_close(total, expected, rtol=1e-8, atol=1e-8, msg=f"{name} {key}")
        for part in parts:
            for key, expected in expected_buffers.items():
                torch.testing.assert_close(part[name][3][key], expected, msg=f"{name} {key}")


@pytest.mark.parametrize("name", ["rfa", "unfold"])
def test_without_processes_it_is_a_batch_norm(name):
    layer = LAYERS[name](4, 6, 3)
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(copy.deepcopy(layer)))
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(twin(x), layer(x))


def test_kernels_in_two_processes_are_as_good_as_one_full_batch():
    """In float32, by the C++ kernels, all norms in the layers synchronised as in training."""
    torch.manual_seed(0)
    x, target = torch.randn(6, 8, 9, 11) + 3, torch.randn(6, 5, 9, 11)
    # named, the backend is an error instead of the reference where it cannot run
    layers = {name: LAYERS[name](8, 5, 3, backend="cpu") for name in ("rfa", "rfcbam", "rfca")}
    synced = {k: synchronise_(copy.deepcopy(layer), "cpu") for k, layer in layers.items()}
    parts = _two_processes(synced, x, target, (slice(0, 3), slice(3, 6)))

    def named(y, dx, gradients, buffers):
        return {"y": y, "dx": dx, **gradients, **{k: v.double() for k, v in buffers.items()}}

    for name, layer in layers.items():
        values = named(
            torch.cat([part[name][0] for part in parts]),
            torch.cat([part[name][1] for part in parts]),
            {k: v + parts[1][name][2][k] for k, v in parts[0][name][2].items()},
            parts[0][name][3],
        )
        for key, buffer in parts[1][name][3].items():
            assert torch.equal(buffer, parts[0][name][3][key]), f"{name} {key}"
        for module in layer.modules():
            if hasattr(module, "backend"):
                module.backend = "reference"
        double = copy.deepcopy(layer).double()
        oracles = named(*_step(double, x.double(), target.double()))
        assert_parity(values, named(*_step(layer, x, target)), oracles, dtype=torch.float32)
