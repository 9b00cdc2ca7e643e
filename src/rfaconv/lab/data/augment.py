"""Random changes of training images, on whole batches and on the device that trains.

The data sets themselves are fixed functions of the index; all randomness of the images is here and
is drawn from torch's global generator, so that seeding it at the start of an epoch fixes the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2


class RandomShift(nn.Module):
    """Moves every image of a batch by its own random number of pixels, filling with zero.

    Args:
        pixels: largest shift in each direction.

    Example:
        >>> RandomShift(1)(torch.zeros(4, 3, 8, 6, dtype=torch.uint8)).shape
        torch.Size([4, 3, 8, 6])
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        """Shifted images of the same shape."""
        batch, _, height, width = images.shape
        if self.pixels == 0 or batch == 0:
            return images
        reach = 2 * self.pixels + 1
        padded = F.pad(images, (self.pixels,) * 4)
        top, left = torch.randint(reach, (2, batch, 1), device=images.device)
        rows = top + torch.arange(height, device=images.device)  # (B, H)
        cols = left + torch.arange(width, device=images.device)  # (B, W)
        index = torch.arange(batch, device=images.device)
        # Advanced indices around a slice put their axes first: (B, H, W, C).
        return (
            padded[index[:, None, None], :, rows[:, :, None], cols[:, None, :]]
            .permute(0, 3, 1, 2)
            .contiguous()
        )


class RandomHorizontalFlip(nn.Module):
    """Mirrors every image of a batch left to right with probability one half.

    Example:
        >>> RandomHorizontalFlip()(torch.zeros(4, 3, 8, 6)).shape
        torch.Size([4, 3, 8, 6])
    """

    def forward(self, images: Tensor) -> Tensor:
        """Images of the same shape, some mirrored."""
        flip = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(flip, images.flip(-1), images)


class Normalize(nn.Module):
    """Bytes to floating point, ``(x / 255 - mean) / std`` per channel.

    Args:
        mean, std: per channel, of images scaled to [0, 1].

    Example:
        >>> Normalize([0.5], [0.25])(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).unique()
        tensor([-2.])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        deviation = torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("scale", 1 / (255 * deviation), persistent=False)
        self.register_buffer(
            "shift", -torch.tensor(mean).view(1, -1, 1, 1) / deviation, persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images of the same shape."""
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)


def augmentation(image_size: int, hflip: bool) -> nn.Module:
    """Shifts by up to an eighth of the image, and mirroring where it keeps the meaning."""
    shift: list[nn.Module] = [RandomShift(image_size // 8)]
    return nn.Sequential(*shift, *([RandomHorizontalFlip()] if hflip else []))


PER_IMAGE = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
_MIXED = {"mixup": v2.MixUp, "cutmix": v2.CutMix}


class PerImage(nn.Module):
    """One of torchvision's policies, drawn anew for every image of a batch.

    Args:
        name: ``randaugment`` or ``trivialaugment``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.policy = PER_IMAGE[name]()

    def forward(self, images: Tensor) -> Tensor:
        """Bytes (B, C, H, W) to bytes of the same shape."""
        return torch.stack([self.policy(image) for image in images])


def mixed(name: str, classes: int) -> nn.Module:
    """``mixup`` or ``cutmix``: images (B, C, H, W) and labels to mixtures and their shares."""
    module: nn.Module = _MIXED[name](num_classes=classes)
    return module
