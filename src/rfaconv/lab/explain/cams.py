"""Class activation maps by the package ``grad-cam``, at the layers where they say most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from rfaconv.errors import InvalidArgument, unknown_name

METHODS = ("gradcam", "gradcam++", "layercam", "hirescam", "eigencam")


def target_layers(network: nn.Module, x: Tensor) -> list[nn.Module]:
    """The layers whose maps are explained.

    Of a detector these are the levels of its pyramid, or what its head takes. Of any other network
    it is the last layer of the coarsest map that has more than one row and column.

    Args:
        network: the network.
        x: an input that it takes.

    Raises:
        InvalidArgument: no layer returns such a map.
    """
    for module in network.modules():
        if isinstance(module, FeaturePyramidNetwork):
            blocks = module.get_submodule("layer_blocks")
            return list(blocks.children())
    layers: Any = getattr(getattr(network, "network", None), "model", None)
    above: Any = getattr(layers[-1], "f", None) if isinstance(layers, nn.Sequential) else None
    if isinstance(above, list):
        return [layers[index] for index in above]  # those that a head of ultralytics takes
    best: list[tuple[int, nn.Module]] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            best.append((output.shape[2] * output.shape[3], module))

    handles = [m.register_forward_hook(look) for m in network.modules() if m is not network]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    if not best:
        raise InvalidArgument("model", "a convolutional network", type(network).__name__)
    smallest = min(area for area, _ in best)
    return [next(module for area, module in reversed(best) if area == smallest)]


def activation_map(
    network: nn.Module,
    x: Tensor,
    score: Callable[[Any], Tensor],
    method: str = "gradcam",
    layers: list[nn.Module] | None = None,
) -> Tensor:
    """Which parts of an input a score rests on, (H, W) from 0 to 1.

    Grad-CAM is ``relu(sum_c w_c A_c)`` with A the map of a layer and ``w_c`` the mean over its
    pixels of the derivative of the score; the others weigh otherwise. Maps of several layers are
    added.

    Args:
        network: the network.
        x: its input (1, C, H, W).
        score: from what the network returns to a number.
        method: one of ``METHODS``.
        layers: None for :func:`target_layers`.

    Raises:
        InvalidArgument: an unknown method.

    Source: Selvaraju et al. 2017 and, for the others, the package ``grad-cam``.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    import pytorch_grad_cam as package

    kind: Any = {
        "gradcam": package.GradCAM, "gradcam++": package.GradCAMPlusPlus,
        "layercam": package.LayerCAM, "hirescam": package.HiResCAM,
        "eigencam": package.EigenCAM,
    }[method]  # fmt: skip
    total = torch.zeros(x.shape[2:])
    for layer in layers or target_layers(network, x):
        with torch.enable_grad(), kind(network, [layer]) as cam:
            found = cam.activations_and_grads
            output = found(x.detach().requires_grad_())
            network.zero_grad()
            score(output).backward()
            if not found.activations:
                continue
            maps = found.activations[0].numpy()
            # a level of a pyramid that no box came from has no derivative
            grads = found.gradients[0].numpy() if found.gradients else maps * 0
            raw = cam.get_cam_image(x, layer, [score], maps, grads, False)
        part = torch.from_numpy(raw).clamp_min(0)[None].float()
        total += F.interpolate(part, x.shape[2:], mode="bilinear")[0, 0]
    network.zero_grad()
    return total / total.max().clamp_min(1e-30)
