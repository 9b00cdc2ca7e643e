"""Parameters, multiply-adds and memory of the networks of the accuracy grid."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from rfaconv.lab.costs import network_cost, peak_bytes
from rfaconv.lab.costs.macs import count_parameters
from rfaconv.lab.networks.classifiers import build_network

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
    operator = "features" if operator == "none" else operator  # the name in the files
    channels, size, _ = IMAGES[data]
    network = build_network("small", operator, classes=10, channels=channels, image_size=size,
                            seed=0, kernel_size=kernel_size)  # fmt: skip
    macs = network_cost(network, IMAGES[data]).macs
    images, labels = torch.randn(BATCH, *IMAGES[data]), torch.zeros(BATCH, dtype=torch.long)

    def step() -> None:
        network.train()
        F.cross_entropy(network(images), labels).backward()

    step()  # the gradients are there before
    return count_parameters(network), macs, peak_bytes(step, torch.device("cpu"))
