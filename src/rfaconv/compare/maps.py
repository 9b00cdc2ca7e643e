"""Where the attention looks: gates of the first operator layer, brought back to pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfaconv.data import ImageData, ImageSet, Normalize
from rfaconv.effective import effective_kernels
from rfaconv.files import write_atomic
from rfaconv.nn import CONVOLUTIONS

SAMPLES = 6


@dataclass(frozen=True)
class AttentionMaps:
    """Maps of some validation images through one trained network.

    Attributes:
        images: uint8 (N, C, H, W).
        labels, predictions: class indices (N,).
        gate: (N, h, w), the gate that each pixel of the first operator layer's input meets,
            divided by its mean over the image: 1 is "like the rest". None without attention.
        gradient: (N, H, W), ``|x * dlogit/dx|`` summed over channels, largest value 1: which
            pixels the decision rests on.
        sharing: fraction of overlapping windows that share their gates; None without attention.
    """

    images: Tensor
    labels: Tensor
    predictions: Tensor
    gate: Tensor | None
    gradient: Tensor
    sharing: float | None

    def save(self, path: Path) -> None:
        """Writes the maps as an npz file, whole or not at all."""
        arrays: dict[str, Any] = {
            "images": self.images.numpy(),
            "labels": self.labels.numpy(),
            "predictions": self.predictions.numpy(),
            "gradient": self.gradient.numpy(),
        }
        if self.gate is not None:
            arrays |= {"gate": self.gate.numpy(), "sharing": np.float64(self.sharing)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> AttentionMaps:
        """Reads what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
        return cls(
            images=arrays["images"],
            labels=arrays["labels"],
            predictions=arrays["predictions"],
            gate=arrays.get("gate"),
            gradient=arrays["gradient"],
            sharing=float(arrays["sharing"]) if "sharing" in arrays else None,
        )


def sample_images(images: ImageSet, count: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """The first validation image of each of ``count`` classes: uint8 (N, C, H, W), labels (N,)."""
    chosen = []
    for label in images.labels.unique()[:count]:
        chosen.append(int((images.labels == label).nonzero()[0]))
    return images.__getitems__(chosen)


def attention_maps(network: nn.Module, data: ImageData, device: torch.device) -> AttentionMaps:
    """Maps of sample images through a trained network.

    Args:
        network: normalised images to logits; put into evaluation mode.
        data: the images.
        device: where ``network`` is.
    """
    images, labels = sample_images(data.val)
    network.eval()
    normalize = Normalize(data.mean, data.std).to(device)
    x = normalize(images.to(device)).requires_grad_()
    layer = first_operator(network)
    captured: list[Tensor] = []
    handle = (
        layer.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].detach()))
        if layer is not None
        else None
    )
    with torch.enable_grad():
        logits = network(x)
        predictions = logits.argmax(1)
        logits.gather(1, predictions[:, None]).sum().backward()
    if handle is not None:
        handle.remove()
    network.zero_grad(set_to_none=True)
    assert x.grad is not None
    gradient = (x * x.grad).detach().sum(1).abs()
    gradient = gradient / gradient.amax((1, 2), keepdim=True).clamp_min(1e-30)
    gate = sharing = None
    if layer is not None:
        found = effective_kernels(layer, captured[0])
        gate = pixel_gates(found.gate, layer, captured[0]).cpu()
        sharing = found.sharing
    return AttentionMaps(images, labels, predictions.cpu(), gate, gradient.cpu(), sharing)


def first_operator(network: nn.Module) -> nn.Conv2d | None:
    """The first operator layer of a network in order of definition, or None."""
    kinds = tuple(CONVOLUTIONS.values())
    for module in network.modules():
        if isinstance(module, kinds):
            assert isinstance(module, nn.Conv2d)
            return module
    return None


def pixel_gates(gate: Tensor, layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Mean gate that every pixel of a layer's input meets, over channels and windows that see it.

    ``g(q) = mean over c and over (p, j) with pixel(p, j) = q of a[c, j, p]``, then divided by
    the mean of g over the image.

    Args:
        gate: attention of every tap of every window (B, C, T, Ho, Wo).
        layer: the layer, for its window.
        x: its input (B, C, H, W).

    Returns:
        (B, H, W).
    """
    batch, _, taps, out_height, out_width = gate.shape
    height, width = x.shape[2:]
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    # padding as the layer has it, "same" included: what the output size leaves over goes first
    need = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip((out_height, out_width), stride, dilation, kernel, strict=True)
    ]
    low = [
        p if not isinstance(layer.padding, str) else d * (k - 1) // 2 * (layer.padding == "same")
        for p, d, k in zip(
            layer.padding if not isinstance(layer.padding, str) else (0, 0),
            dilation,
            kernel,
            strict=True,
        )
    ]
    canvas = (max(need[0], low[0] + height), max(need[1], low[1] + width))
    rows = gate.mean(1).float().reshape(batch, taps, out_height * out_width)
    # the canvas can be larger than the windows reach; fold wants it to fit exactly
    total = F.fold(rows, need, kernel, dilation, 0, stride)  # type: ignore[arg-type]
    seen = F.fold(torch.ones_like(rows), need, kernel, dilation, 0, stride)  # type: ignore[arg-type]
    mean = total / seen.clamp_min(1)
    mean = F.pad(mean, (0, canvas[1] - need[1], 0, canvas[0] - need[0]))
    mean = mean[:, 0, low[0] : low[0] + height, low[1] : low[1] + width]
    return mean / mean.mean((1, 2), keepdim=True).clamp_min(1e-30)
