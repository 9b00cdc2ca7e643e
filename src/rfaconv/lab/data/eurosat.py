"""EuroSAT (RGB) from a zip of ``train|val|test/CLASS/*.jpg``, read without unpacking."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.decoding import ImageProblem, read_image
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import SkippedImage, TensorImages

NATIVE_SIZE = 64
PARTS = ("val", "test")
_PLACES = ("eurosat-rgb-8k.zip", "eurosat-rgb-8k/eurosat-rgb-8k.zip", "eurosat.zip", "EuroSAT.zip")

Read = tuple[TensorImages, TensorImages, tuple[str, ...], tuple[SkippedImage, ...]]


def read_eurosat(root: Path, part: str = "val", strict: bool = False) -> Read:
    """Training images, the images of ``part``, class names and what could not be decoded.

    Args:
        root: the zip, or the folder that it lies in.
        part: ``val`` or ``test``.
        strict: a damaged image is an error, not left out.

    Raises:
        InvalidArgument: no zip, a damaged one, or one that is laid out otherwise.
    """
    candidates = (root, *(root / name for name in _PLACES))
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise InvalidArgument("root", f"EuroSAT's zip or a folder with {_PLACES[0]}", str(root))
    skipped: list[SkippedImage] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.count("/") >= 2 and n[-1] != "/")
            classes = tuple(sorted({name.split("/")[-2] for name in names}))
            sets = [
                _read_part(archive, path, [n for n in names if n.split("/")[-3] == wanted],
                           classes, strict, skipped)
                for wanted in ("train", part)
            ]  # fmt: skip
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise InvalidArgument("root", "a readable zip", f"{path} ({error})") from error
    return sets[0], sets[1], classes, tuple(skipped)


def _read_part(
    archive: zipfile.ZipFile,
    path: Path,
    names: list[str],
    classes: tuple[str, ...],
    strict: bool,
    skipped: list[SkippedImage],
) -> TensorImages:
    images: list[Tensor] = []
    labels: list[int] = []
    to_tensor = v2.PILToTensor()
    for name in names:
        try:
            tensor: Tensor = to_tensor(read_image(io.BytesIO(archive.read(name))))
            if tensor.shape != (3, NATIVE_SIZE, NATIVE_SIZE):
                raise ImageProblem(f"{tuple(tensor.shape)}, not 3 x {NATIVE_SIZE} x {NATIVE_SIZE}")
        except (ImageProblem, OSError, zipfile.BadZipFile, zlib.error) as error:
            if strict:
                raise InvalidArgument("data", "readable images", f"{path}:{name}") from error
            skipped.append(SkippedImage(path / name, str(error)))
            continue
        images.append(tensor)
        labels.append(classes.index(name.split("/")[-2]))
    if len(set(labels)) < len(classes) or len(classes) < 2:
        raise InvalidArgument("root", "train|val|test/CLASS/*.jpg, every class filled", str(path))
    return TensorImages(torch.stack(images), torch.tensor(labels))
