"""Shards in the WebDataset format: tar files of images with their labels, read as a stream.

``shards.json`` beside the shards says what is in them; :func:`write_shards` makes both::

    {"classes": ["cat", "dog"],
     "train": {"train-000000.tar": 1000, "train-000001.tar": 998},
     "val": {"val-000000.tar": 500}}

A sample is an image (``.jpg``, ``.png`` ...) and a ``.cls`` with the index of its class.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from rfaconv.decoding import SUFFIXES, ImageProblem, read_image
from rfaconv.errors import InvalidArgument
from rfaconv.lab.data.base import Batch, TensorImages
from rfaconv.lab.data.decoding import DamagedImage
from rfaconv.lab.data.folder import list_folder

INDEX = "shards.json"
Sample = tuple[Tensor, int]


@dataclass(frozen=True)
class ShardImages:
    """Images in shards, which are read in order and have no index.

    Attributes:
        urls: of the shards: paths, or what ``webdataset`` opens (``https://``, ``pipe:`` ...).
        samples: images in each.
        transform: turns a PIL image into a uint8 tensor (3, H, W).
        strict: a damaged image is an error instead of being left out.
    """

    urls: tuple[str, ...]
    samples: tuple[int, ...]
    transform: v2.Transform
    strict: bool = False

    def __len__(self) -> int:
        return sum(self.samples)

    @property
    def labels(self) -> Tensor:
        """Labels are known only when the images are read."""
        raise InvalidArgument("data", "images in memory or in a folder", "shards")

    def __getitems__(self, indices: list[int]) -> Batch:
        """Refused: a stream has no index."""
        raise InvalidArgument("data", "images in memory or in a folder", "shards")

    def first(self, count: int) -> TensorImages:
        """The first ``count`` images, uint8 (N, 3, H, W)."""
        images, labels = [], []
        for sample in self.raw(list(self.urls)):
            decoded = self.decode(sample)
            if decoded is not None:
                images.append(decoded[0])
                labels.append(decoded[1])
            if len(images) == count:
                break
        return TensorImages(torch.stack(images), torch.tensor(labels))

    def raw(self, urls: list[str], shuffle: Any = None) -> Iterator[dict[str, Any]]:
        """Undecoded samples of these shards; ``shuffle`` is a filter of webdataset.

        Raises:
            DamagedImage: a shard cannot be read; it is named.
        """
        from webdataset import tariterators

        files = tariterators.tar_file_expander(_opened(urls), handler=_refuse)
        samples = tariterators.group_by_keys(files, handler=_refuse)
        yield from samples if shuffle is None else shuffle(samples)

    def decode(self, sample: dict[str, Any]) -> Sample | None:
        """Image and label of a raw sample; None if it is damaged and ``strict`` is off.

        Raises:
            DamagedImage: with ``strict``.
        """
        key = next((k for k in sample if f".{k.rpartition('.')[2].lower()}" in SUFFIXES), None)
        try:
            if key is None or "cls" not in sample:
                raise ValueError("no image, or no .cls")
            label = int(sample["cls"])
            return self.transform(read_image(io.BytesIO(sample[key]))), label
        except (ImageProblem, ValueError) as error:
            if not self.strict:
                return None
            where = f"{sample.get('__url__')}:{sample.get('__key__')}"
            raise DamagedImage(f"{where} cannot be read: {error}") from error


def read_shards(
    place: str, transform: v2.Transform, strict: bool = False
) -> tuple[ShardImages, ShardImages, tuple[str, ...], str]:
    """Training images, validation images, class names and a digest of the index.

    Args:
        place: folder or URL below which the shards and ``shards.json`` lie.
        transform: see :class:`ShardImages`.
        strict: see :class:`ShardImages`.

    Raises:
        InvalidArgument: no index, or one that is laid out otherwise; a shard that is missing.
    """
    place = place.rstrip("/")
    text = _index(place)
    expected = f"{INDEX} with classes, train and val ({place})"
    try:
        value = json.loads(text)
        classes = tuple(str(name) for name in value["classes"])
        parts = [
            ShardImages(
                tuple(f"{place}/{name}" for name in value[part]),
                tuple(int(count) for count in value[part].values()), transform, strict,
            )
            for part in ("train", "val")
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument("data", expected, f"{type(error).__name__}: {error}") from error
    if len(classes) < 2 or not all(len(part) for part in parts):
        raise InvalidArgument("data", f"two classes or more and images in {expected}", text[:60])
    for url in (*parts[0].urls, *parts[1].urls):
        if "://" not in place and not Path(url).is_file():
            raise InvalidArgument("data", f"the shards that {INDEX} names", f"no {url}")
    return parts[0], parts[1], classes, hashlib.sha256(text.encode()).hexdigest()[:16]


def write_shards(
    source: Path, out: Path, *, images_per_shard: int = 1000, split_seed: int = 0
) -> None:
    """Packs a folder of images (see ``folder:PATH``) into shards with their index, as they are.

    Args:
        source: folder with ``train/`` and ``val/``, or with one folder per class.
        out: a new folder.
        images_per_shard: at most so many; the images of the classes are mixed.
        split_seed: of the split of a folder without ``val/``.

    Raises:
        InvalidArgument: ``source`` is no such folder, or ``out`` is not new.
    """
    if out.exists():
        raise InvalidArgument("out", "a new folder", str(out))
    train, val, classes, _ = list_folder(source, split_seed)
    temporary = out.with_name(f".{out.name}.writing")
    temporary.mkdir(parents=True)
    index: dict[str, Any] = {"classes": list(classes)}
    for part, files in (("train", train), ("val", val)):
        order = torch.randperm(len(files.paths), generator=torch.Generator().manual_seed(0))
        index[part] = {}
        for number, block in enumerate(order.split(images_per_shard)):
            name = f"{part}-{number:06d}.tar"
            with tarfile.open(temporary / name, "w") as tar:
                for i in block.tolist():
                    stem = f"{i:09d}"
                    image = files.paths[i].read_bytes()
                    _add(tar, f"{stem}.cls", str(files.labels[i].item()).encode())
                    suffix = files.paths[i].suffix.lower()
                    _add(tar, stem + (suffix if suffix in SUFFIXES else ".png"), image)
            index[part][name] = len(block)
    (temporary / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    temporary.replace(out)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _index(place: str) -> str:
    try:
        if "://" not in place:
            return Path(place, INDEX).read_text(encoding="utf-8")
        import webdataset as wds

        with wds.gopen(f"{place}/{INDEX}") as stream:
            return str(stream.read().decode())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("data", f"webdataset:PLACE with {INDEX} in it", place) from error


def _opened(urls: list[str]) -> Iterator[dict[str, Any]]:
    # webdataset's own stage leaves a shard open that is not read to its end
    import webdataset as wds

    for url in urls:
        try:
            stream = wds.gopen(url)
        except OSError as error:
            raise DamagedImage(f"shard {url} cannot be opened: {error}") from error
        with stream:
            yield {"url": url, "stream": stream}


def _refuse(error: Exception) -> bool:
    if isinstance(error, DamagedImage):  # by a stage inside the one that asks
        raise DamagedImage(str(error.args[0])) from error
    # webdataset adds the stream and the URL to the arguments
    reason, url = (error.args[0], error.args[-1]) if error.args else ("?", "?")
    raise DamagedImage(f"shard {url} cannot be read: {reason}") from error
