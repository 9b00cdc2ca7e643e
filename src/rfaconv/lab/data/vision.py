"""Fashion-MNIST, CIFAR-10 and CIFAR-100, as torchvision keeps them; fetched only on request."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import TensorImages

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
NATIVE_SIZES = {"fashion-mnist": 28, "cifar10": 32, "cifar100": 32}

Read = tuple[TensorImages, TensorImages, tuple[str, ...]]


def read_vision(name: str, root: Path, download: bool) -> Read:
    """Training images, validation images and class names of a torchvision set.

    Args:
        name: ``fashion-mnist``, ``cifar10`` or ``cifar100``.
        root: folder as torchvision lays it out; Fashion-MNIST's files may also lie in it directly.
        download: whether torchvision may fetch what is missing.

    Raises:
        InvalidArgument: the set is not there, or its files are damaged.
    """
    return (
        _read_fashion(root, download)
        if name == "fashion-mnist"
        else _read_cifar(name, root, download)
    )


def _missing(name: str, root: Path) -> InvalidArgument:
    return InvalidArgument("root", f"a folder that holds {name} (--download fetches it)", str(root))


def _read_fashion(root: Path, download: bool) -> Read:
    places = (root / "FashionMNIST" / "raw", root / "fashion-mnist", root)
    place = next((p for p in places if _idx_file(p, "train-images-idx3-ubyte") is not None), None)
    if place is None:
        if not download:
            raise _missing("fashion-mnist", root)
        from torchvision.datasets import FashionMNIST

        _fetch(lambda: FashionMNIST(str(root), train=True, download=True), "fashion-mnist")
        place = places[0]
    parts = []
    for stem in ("train", "t10k"):
        images = _read_idx(place, f"{stem}-images-idx3-ubyte", 3)
        labels = _read_idx(place, f"{stem}-labels-idx1-ubyte", 1)
        if len(images) != len(labels) or len(images) == 0:
            expected = f"as many {stem} labels as images, and at least one"
            raise InvalidArgument(
                "root", expected, f"{len(images)} images and {len(labels)} labels in {place}"
            )
        parts.append(TensorImages(images.unsqueeze(1), labels.long()))
    return parts[0], parts[1], FASHION_CLASSES


def _idx_file(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _read_idx(folder: Path, stem: str, dimensions: int) -> Tensor:
    """A file in the IDX format: two zero bytes, type 8 (uint8), rank, big-endian sizes, bytes."""
    path = _idx_file(folder, stem)
    if path is None:
        raise InvalidArgument("root", f"a folder that holds {stem} or {stem}.gz", str(folder))
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidArgument("root", f"a readable {path.name}", f"{path} ({error})") from error
    start = 4 + 4 * dimensions
    sizes = (
        tuple(int(size) for size in np.frombuffer(raw[4:start], dtype=">u4"))
        if len(raw) >= start
        else ()
    )
    if raw[:4] != bytes((0, 0, 8, dimensions)) or len(raw) - start != int(
        np.prod(sizes, dtype=np.int64)
    ):
        raise InvalidArgument(
            "root", f"{path.name} in the IDX format, complete", f"{path} ({len(raw)} bytes)"
        )
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(sizes).copy())


def _read_cifar(name: str, root: Path, download: bool) -> Read:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    if download:
        _fetch(lambda: kind(str(root), train=True, download=True), name)
    parts, classes = [], ()
    for train in (True, False):
        try:
            files = kind(str(root), train=train, download=False)
        except (RuntimeError, OSError) as error:
            # torchvision says "not found or corrupted" for both a missing and a damaged archive.
            raise _missing(name, root) from error
        images = torch.from_numpy(np.ascontiguousarray(files.data.transpose(0, 3, 1, 2)))
        parts.append(TensorImages(images, torch.tensor(files.targets)))
        classes = tuple(files.classes)
    return parts[0], parts[1], classes


def _fetch(download: object, name: str) -> None:
    assert callable(download)
    try:
        download()
    except (RuntimeError, OSError) as error:
        raise InvalidArgument(
            "download", f"{name} to be fetched by torchvision", str(error).splitlines()[0]
        ) from error
