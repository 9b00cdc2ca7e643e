"""Two processes that train and evaluate networks sharded in many ways, ours and torch's own.

One start of the processes runs all cases; each case's answers are a file of their own, so that a
case that ends its process leaves the answers of those before it.
"""

from __future__ import annotations

import copy
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, MixedPrecisionPolicy
from torch.distributed.fsdp import fully_shard as _fully_shard
from torch.distributed.fsdp.wrap import (
    ModuleWrapPolicy,
    always_wrap_policy,
    size_based_auto_wrap_policy,
)

from rfaconv.bench.published import PUBLISHED
from rfaconv.nn import CONVOLUTIONS
from testing.published import published_twin

STEPS = 2
POLICIES = ("none", "always", "size", "operators")
DTYPES = {"plain": None, "bfloat16": torch.bfloat16, "float32": torch.float32}

Case = tuple[str, ...]


def network(operator: str, ours: bool) -> nn.Sequential:
    """The same network of our layers, or of torch's."""
    torch.manual_seed(0)
    kind = CONVOLUTIONS[operator]
    layers: list[Any] = [kind(8, 8, 3), kind(8, 12, 3, stride=2)]
    stem, head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(12, 5)
    if not ours:
        layers = [published_twin(layer) for layer in layers]
    return nn.Sequential(
        stem, nn.BatchNorm2d(8), nn.ReLU(), layers[0], nn.ReLU(), layers[1],
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), head,
    )  # fmt: skip


def batches(rank: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of every step of one process, and of the evaluation behind them."""
    generator = torch.Generator().manual_seed(7 + rank)
    return [
        (
            torch.randn(6, 3, 12, 10, generator=generator).to(dtype),
            torch.randn(6, 5, generator=generator).to(dtype),
        )
        for _ in range(STEPS + 1)
    ]


def trained(net: nn.Module, rank: int, before_step: Callable[[], None] = lambda: None) -> Any:
    """Outputs of an evaluation, of every step, and of an evaluation behind them."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    *steps, (last, _) = batches(rank)
    outputs = []
    net.eval()
    with torch.no_grad():
        outputs.append(net(last).detach())
    net.train()
    for x, target in steps:
        y = net(x)
        outputs.append(y.detach())
        (y - target).square().mean().backward()
        before_step()
        optimizer.step()
        optimizer.zero_grad()
    net.eval()
    with torch.no_grad():
        outputs.append(net(last).detach())
    return outputs


def exact(operator: str) -> list[list[Tensor]]:
    """What both processes should find, in float64: one network each, their gradients averaged."""
    nets = [network(operator, ours=False).double() for _ in range(2)]
    optimizers = [torch.optim.SGD(net.parameters(), 0.1) for net in nets]
    data = [batches(rank, torch.float64) for rank in range(2)]
    outputs: list[list[Tensor]] = [[], []]

    def evaluate() -> None:
        for rank, net in enumerate(nets):
            net.eval()
            with torch.no_grad():
                outputs[rank].append(net(data[rank][-1][0]))
            net.train()

    evaluate()
    for step in range(STEPS):
        for rank, net in enumerate(nets):
            x, target = data[rank][step]
            y = net(x)
            outputs[rank].append(y.detach())
            (y - target).square().mean().backward()
        for pair in zip(*(net.parameters() for net in nets), strict=True):
            mean = (pair[0].grad + pair[1].grad) / 2  # type: ignore[operator]
            pair[0].grad, pair[1].grad = mean.clone(), mean.clone()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    evaluate()
    return outputs


def fsdp1(case: Case, ours: bool) -> nn.Module:
    """The network of (operator, policy, parameters, precision) under FSDP1."""
    operator, policy, parameters, precision = case
    kinds = CONVOLUTIONS if ours else PUBLISHED
    policies = {
        "none": None,
        "always": always_wrap_policy,
        "size": partial(size_based_auto_wrap_policy, min_num_params=64),
        "operators": ModuleWrapPolicy({kinds[operator]}),
    }
    dtype = DTYPES[precision]
    with warnings.catch_warnings():
        # it says that BatchNorms are wrapped by themselves, which is what is tried
        warnings.filterwarnings("ignore", "Both mixed precision and an auto_wrap_policy")
        return FullyShardedDataParallel(
            network(operator, ours),
            auto_wrap_policy=policies[policy],
            use_orig_params=parameters == "orig",
            mixed_precision=None if dtype is None else MixedPrecision(dtype, dtype, dtype),
            device_id=torch.device("cpu"),
        )


def fsdp2(case: Case, ours: bool) -> nn.Module:
    """The network of (operator, what is sharded by itself, precision) under FSDP2."""
    operator, which, precision = case
    net = network(operator, ours)
    mesh = init_device_mesh("cpu", (2,))
    kinds = CONVOLUTIONS if ours else PUBLISHED
    dtype = DTYPES[precision]
    policy = MixedPrecisionPolicy(dtype, dtype) if dtype else MixedPrecisionPolicy()
    shard = partial(_fully_shard, mesh=mesh, mp_policy=policy)
    for module in reversed(list(net.modules())):
        inner = which == "operators" and type(module) is kinds[operator]
        every = which == "every" and any(True for _ in module.parameters(recurse=False))
        if inner or every:
            shard(module)
    return shard(net)  # type: ignore[no-any-return]


KINDS = {"fsdp1": fsdp1, "fsdp2": fsdp2}


def _work(rank: int, port: int, kind: str, cases: list[Case], folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    for case in cases:
        found: dict[str, Any] = {}
        for side, ours in (("composition", False), ("ours", True)):
            try:
                net = KINDS[kind](case, ours)
                found[side] = trained(net, rank)
                options = StateDictOptions(full_state_dict=True, cpu_offload=True)
                state = get_model_state_dict(net, options=options)
                found[side + " state"] = {k: copy.deepcopy(v) for k, v in state.items()}
            except Exception as error:
                found[side] = f"{type(error).__name__}: {error}"
        torch.save(found, _file(folder, case, rank))
    distributed.destroy_process_group()


def _file(folder: str | Path, case: Case, rank: int) -> Path:
    return Path(folder) / f"{'-'.join(case)}-{rank}.pt"


def run(kind: str, cases: list[Case], folder: Path) -> str:
    """Runs the cases in two processes; returns why they ended early, or nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        multiprocessing.spawn(_work, (port, kind, cases, str(folder)), nprocs=2, join=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def answers(folder: Path, case: Case) -> list[Mapping[str, Any]]:
    """What both processes found; raises FileNotFoundError where one did not come so far."""
    return [torch.load(_file(folder, case, rank), weights_only=True) for rank in range(2)]
