"""What a trained classifier still gets right when its images are corrupted.

Every corruption acts on images of bytes, before they are normalised, in five strengths, and gives
bytes again, as a file would hold. Equal data gives equal corrupted images, whatever the network.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.data import ImageData
from rfaconv.lab.evaluate import trained_run
from rfaconv.lab.seeds import derive
from rfaconv.lab.tasks.classify import measured

FILE = "corrupted.json"
KEPT = ("top1", "ece")


@dataclass(frozen=True)
class Corruption:
    """One kind of damage.

    Attributes:
        meaning: of the strengths, for people.
        strengths: from mild to severe.
        change: from bytes (B, C, H, W) and a strength to bytes of the same shape.
    """

    meaning: str
    strengths: tuple[float, ...]
    change: Callable[[Tensor, float], Tensor]


def _noise(images: Tensor, sigma: float) -> Tensor:
    noisy: Tensor = v2.GaussianNoise(sigma=sigma)(images.float() / 255)
    return (noisy * 255).round().to(torch.uint8)


def _blur(images: Tensor, sigma: float) -> Tensor:
    side = 2 * math.ceil(3 * sigma) + 1
    blurred: Tensor = functional.gaussian_blur(images, [side, side], [sigma, sigma])
    return blurred


def _jpeg(images: Tensor, quality: float) -> Tensor:
    found = []
    for image in images:
        file = io.BytesIO()
        to_pil_image(image).save(file, "JPEG", quality=int(quality))
        found.append(pil_to_tensor(Image.open(file)))
    return torch.stack(found)


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(
        "Gaussian noise, standard deviation where white is 1", (0.02, 0.04, 0.06, 0.08, 0.1), _noise
    ),
    "blur": Corruption(
        "Gaussian blur, standard deviation in pixels", (0.4, 0.6, 0.8, 1.0, 1.5), _blur
    ),
    "contrast": Corruption(
        "contrast, factor", (0.8, 0.6, 0.4, 0.3, 0.2), functional.adjust_contrast
    ),
    "bright": Corruption(
        "brightness, factor", (1.1, 1.2, 1.4, 1.6, 2.0), functional.adjust_brightness
    ),
    "dark": Corruption(
        "brightness, factor", (0.9, 0.8, 0.6, 0.4, 0.25), functional.adjust_brightness
    ),
    "jpeg": Corruption("JPEG, quality", (80, 60, 40, 20, 10), _jpeg),
}


def corrupted(images: Tensor, kind: str, strength: float, seed: int = 0) -> Tensor:
    """Images with a corruption.

    Args:
        images: bytes (B, C, H, W), one or three channels.
        kind: a name of ``CORRUPTIONS``.
        strength: as the corruption understands it.
        seed: of what is random; the generator of torch is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CORRUPTIONS[kind].change(images, strength)


def corrupted_figures(network: nn.Module, data: ImageData) -> dict[str, Any]:
    """Accuracy and calibration error of a classifier on clean and on corrupted images.

    Args:
        network: in evaluation mode.
        data: with the validation images.

    Returns:
        ``clean``, ``mean`` (over all kinds and strengths) and ``kinds``, each with ``top1`` and
        ``ece`` in [0, 1]; of a kind also its ``strengths``, and the lists are in their order.
    """

    def under(kind: str, strength: float) -> dict[str, Any]:
        # strengths of a kind have the same noise
        return measured(
            network, data, data.val,
            lambda batch, before: corrupted(batch, kind, strength, derive(0, kind, before)),
        )  # fmt: skip

    clean = measured(network, data, data.val)
    kinds: dict[str, Any] = {}
    for kind, one in CORRUPTIONS.items():
        found = [under(kind, strength) for strength in one.strengths]
        kinds[kind] = {
            "meaning": one.meaning,
            "strengths": list(one.strengths),
            **{name: [value[name] for value in found] for name in KEPT},
        }
    return {
        "images": clean["images"],
        "clean": {name: clean[name] for name in KEPT},
        "mean": {name: fmean(v for kind in kinds.values() for v in kind[name]) for name in KEPT},
        "kinds": kinds,
    }


def corrupted_run(run: Path, which: str = "last") -> dict[str, Any]:
    """:func:`corrupted_figures` of a run; writes ``corrupted.json`` into it.

    Args:
        run: the folder of a classifier's run.
        which: ``last`` or ``best`` checkpoint.

    Raises:
        InvalidArgument: not a run of a classifier, or no whole checkpoint.
    """
    trained = trained_run(run, which, tasks=("classify",))
    with torch.inference_mode():
        value = corrupted_figures(trained.network, trained.data)
    value["checkpoint"] = trained.checkpoint.name
    write_atomic(run / FILE, strict_json(value))
    return value
