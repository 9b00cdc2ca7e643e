"""Parameters, multiply-adds and memory of the networks of the accuracy grid."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from rfaconv.compare.macs import count_parameters, network_cost
from rfaconv.compare.memory import peak_bytes
from rfaconv.nn._receptive_field import ReceptiveFieldConv
from rfaconv.training.networks import build_network

IMAGES = {"eurosat": (3, 64, 64), "fashion-mnist": (1, 28, 28)}
BATCH = 64


@cache
def cost(
    operator: str, data: str, kernel_size: int | None, timm_name: str | None = None
) -> tuple[int, int, int]:
    """Parameters, multiply-adds for one image, bytes at the peak of a training step."""
    if timm_name is not None:
        import timm

        import rfaconv.models  # noqa: F401

        network = timm.create_model(timm_name)
        return count_parameters(network), network_cost(network, (3, 224, 224)).macs, 0
    channels, size, _ = IMAGES[data]
    network = build_network("small", operator, classes=10, channels=channels, image_size=size,
                            seed=0, kernel_size=kernel_size)  # fmt: skip
    macs = network_cost(network, IMAGES[data]).macs + _features(network, operator, IMAGES[data])
    images, labels = torch.randn(BATCH, *IMAGES[data]), torch.zeros(BATCH, dtype=torch.long)

    def step() -> None:
        network.train()
        F.cross_entropy(network(images), labels).backward()

    step()  # the gradients are there before
    return count_parameters(network), macs, peak_bytes(step, torch.device("cpu"))


def _features(network: nn.Module, operator: str, image: tuple[int, int, int]) -> int:
    """Of the layers of the ablations, which the library's own count knows as convolutions only."""
    total = 0
    if operator not in ("none", "unfold"):
        return total
    handles = []

    def hook(layer: nn.Conv2d, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> None:
        nonlocal total
        taps, pixels = layer.kernel_size[0] ** 2, y.shape[2] * y.shape[3]
        # taps features of taps products each; unfold's features are the inputs themselves
        if isinstance(layer, ReceptiveFieldConv) and operator == "none":
            total += layer.in_channels * pixels * taps * (taps + 1)
        else:
            total += layer.in_channels * pixels * taps * 2

    for module in network.modules():
        if type(module).__name__ in ("FeatureConv2d", "UnfoldRFAConv2d"):
            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *image))
    for handle in handles:
        handle.remove()
    return total
