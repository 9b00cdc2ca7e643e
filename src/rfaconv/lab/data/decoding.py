"""Images decoded from their files whenever they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from rfaconv.decoding import ImageProblem, read_image
from rfaconv.errors import RFAConvError
from rfaconv.lab.data.base import Batch


class DamagedImage(RFAConvError):
    """An image that was whole when the run began cannot be decoded any more."""


@dataclass(frozen=True)
class FileList:
    """Image files of one part with their labels, in a fixed order."""

    paths: tuple[Path, ...]
    labels: Tensor

    def subset(self, indices: Tensor) -> FileList:
        """The files at ``indices``, in that order."""
        return FileList(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])


class FileImages(Dataset[Batch]):
    """Images decoded from their files whenever they are asked for.

    Args:
        files: the files; each must be readable.
        transform: turns a PIL image into a uint8 tensor (3, H, W).
        seed: of a random transform; what is drawn for a batch is then a function of the seed and
            the batch alone, whichever process decodes it and whatever was decoded before.
    """

    def __init__(self, files: FileList, transform: v2.Transform, seed: int | None = None) -> None:
        self.files = files
        self.labels = files.labels
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitems__(self, indices: list[int]) -> Batch:
        with seeded(self.seed, indices):
            images = [self._decode(index) for index in indices]
        return torch.stack(images), self.labels[torch.as_tensor(indices)]

    def _decode(self, index: int) -> Tensor:
        try:
            return decode(self.files.paths[index], self.transform)
        except ImageProblem as error:
            raise DamagedImage(
                f"{self.files.paths[index]} can no longer be read: {error}"
            ) from error


@contextmanager
def seeded(seed: int | None, key: object) -> Iterator[None]:
    """Torch's generator as a function of ``seed`` and ``key``, put back at the end; None: as it is.

    Example:
        >>> with seeded(0, [3, 1]):
        ...     torch.rand(2).shape
        torch.Size([2])
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield


def square(image_size: int) -> v2.Transform:
    """Shorter side to ``image_size``, centre cut out, uint8 (3, S, S)."""
    return v2.Compose(
        [
            v2.RGB(),
            v2.Resize(image_size, antialias=True),
            v2.CenterCrop(image_size),
            v2.PILToTensor(),
        ]
    )


def read_pixels(path: Path) -> Tensor:
    """One file as a uint8 tensor (3, H, W), in its own size.

    Raises:
        ImageProblem: the file cannot be read as an image.
    """
    tensor: Tensor = pil_to_tensor(read_image(path))
    return tensor


def decode(path: Path, transform: v2.Transform) -> Tensor:
    """One file as a uint8 tensor (3, H, W).

    Raises:
        ImageProblem: the file cannot be read as an image.
    """
    tensor: Tensor = transform(read_image(path))
    return tensor
