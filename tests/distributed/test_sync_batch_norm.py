"""SyncBatchNorm over two processes: the moments are averaged, so it equals one large batch."""

import copy
import os
import socket

import pytest
import torch
from torch import distributed, multiprocessing, nn

from rfaconv.nn import CONVOLUTIONS, UnfoldRFAConv2d

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


def _worker(rank, port, layers, x, target, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    part = SPLITS[rank]
    results[rank] = {
        # the tensors that came along are shared by both processes
        name: _step(copy.deepcopy(layer), x[part], target[part])
        for name, layer in layers.items()
    }
    distributed.barrier()
    distributed.destroy_process_group()


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(_worker, (port, synced, x, target, results), nprocs=2, join=True)
        parts = [results[0], results[1]]
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
