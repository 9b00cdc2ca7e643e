from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, load_data


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, packed: bool) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for stem, count in (("train", 12), ("t10k", 6)):
        arrays[f"{stem}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28))
        arrays[f"{stem}-labels-idx1-ubyte"] = np.arange(count) % 10
    for name, array in arrays.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return arrays["train-images-idx3-ubyte"]


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "fashion-mnist", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_its_files(tmp_path: Path, place: str, packed: bool) -> None:
    expected = write_fashion(tmp_path / place, packed)
    data = load_data(DataSpec("fashion-mnist", root=tmp_path))
    images, labels = data.train.__getitems__([3, 11])
    assert torch.equal(images[:, 0], torch.from_numpy(expected[[3, 11]].astype(np.uint8)))
    assert labels.tolist() == [3, 1]
    assert len(data.val) == 6
    assert data.hflip


def test_damaged_fashion_mnist(tmp_path: Path) -> None:
    write_fashion(tmp_path, packed=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidArgument, match=r"a readable train-images-idx3-ubyte\.gz"):
        load_data(DataSpec("fashion-mnist", root=tmp_path))
    file.write_bytes(gzip.compress(gzip.decompress(whole)[:-5]))
    with pytest.raises(InvalidArgument, match="in the IDX format, complete"):
        load_data(DataSpec("fashion-mnist", root=tmp_path))


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"root: expected a folder that holds {name}"):
        load_data(DataSpec(name, root=tmp_path))


def test_the_real_fashion_mnist(shared: Path) -> None:
    root = shared / "data"
    if not (root / "fashion-mnist").is_dir():
        pytest.skip("needs Fashion-MNIST in the shared folder")
    data = load_data(DataSpec("fashion-mnist", root=root, limit=1000))
    assert torch.bincount(data.train.labels).tolist() == [100] * 10
    assert len(data.val) == 10_000
    # the published mean of the whole training set is 0.2860
    assert data.mean[0] == pytest.approx(0.286, abs=0.01)
