from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.data import DataLoader

from rfaconv.errors import InvalidArgument
from rfaconv.lab.data import DataSpec, load_data
from rfaconv.lab.data.decoding import DamagedImage
from rfaconv.lab.data.shards import ShardImages, write_shards
from rfaconv.lab.data.streams import ShardBatches
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.recipes import read_recipe
from rfaconv.lab.train import train_recipe
from rfaconv.lab.training.preemption import Preempted, Preemption


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images to train on in six shards, 8 to validate; the red value of each is its number."""
    root = tmp_path_factory.mktemp("images")
    number = 0
    for part, count in (("train", 12), ("val", 4)):
        for label in "ab":
            folder = root / "folder" / part / label
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (20, 16), (number, 90, 0)).save(folder / f"{index}.png")
                number += 1
    write_shards(root / "folder", root / "shards", images_per_shard=4)
    return root / "shards"


def load(place: Path, **options) -> tuple[ShardImages, ShardImages]:
    data = load_data(DataSpec(f"webdataset:{place}", image_size=16, **options))
    assert isinstance(data.train, ShardImages)
    assert isinstance(data.val, ShardImages)
    assert data.classes == ("a", "b")
    return data.train, data.val


def numbers(batches) -> list[list[int]]:
    return [batch[0][:, 0, 0, 0].tolist() for batch in batches]


def flat(*streams) -> list[int]:
    return [number for stream in streams for batch in numbers(stream) for number in batch]


def test_processes_and_workers_read_every_image_once(place: Path) -> None:
    train, val = load(place)
    assert (len(train), len(val)) == (24, 8)
    for world, workers in ((1, 0), (2, 0), (3, 2)):
        seen = []
        for rank in range(world):
            stream = ShardBatches(train, 2, 12 // world, 0, rank, world, workers)
            seen += flat(DataLoader(stream, batch_size=None, num_workers=workers))
        assert sorted(seen) == list(range(24)), (world, workers)
    held = [ShardBatches(val, 3, rank=rank, world=2) for rank in range(2)]
    assert sorted(flat(*held)) == list(range(24, 32))
    with pytest.raises(InvalidArgument, match="8 shards or more"):
        ShardBatches(train, 2, 3, 0, 0, 4, 2)


def test_order_is_a_function_of_seed_and_epoch(place: Path) -> None:
    train, _ = load(place)

    def order(seed: int, epoch: int) -> list[list[int]]:
        stream = ShardBatches(train, 4, 6, seed)
        stream.resume(epoch, 0)
        return numbers(stream)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_within_an_epoch_reads_the_rest(place: Path, workers: int) -> None:
    train, _ = load(place)

    def rest(done: int) -> list[list[int]]:
        stream = ShardBatches(train, 2, 11, 5, workers=workers)
        stream.resume(3, done)
        return numbers(DataLoader(stream, batch_size=None, num_workers=workers))

    assert rest(5) == rest(0)[5:]


def test_what_is_wrong_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"shards\.json"):
        load_data(DataSpec(f"webdataset:{tmp_path}"))
    with pytest.raises(InvalidArgument, match="limit"):
        DataSpec(f"webdataset:{place}", limit=3)
    index = json.loads((place / "shards.json").read_text(encoding="utf-8"))
    index["train"]["train-000009.tar"] = 4
    (tmp_path / "shards.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"no .*train-00000"):
        load_data(DataSpec(f"webdataset:{tmp_path}"))


def test_damaged_image_is_left_out_or_named(place: Path, tmp_path: Path) -> None:
    index = json.loads((place / "shards.json").read_text(encoding="utf-8"))
    for name in (*index["train"], *index["val"]):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    (tmp_path / "shards.json").write_text(json.dumps(index), encoding="utf-8")
    first = tmp_path / next(iter(index["val"]))
    with tarfile.open(first) as tar:
        image = next(m for m in tar if m.name.endswith(".png"))
    content = bytearray(first.read_bytes())
    content[image.offset_data : image.offset_data + 40] = bytes(40)
    first.write_bytes(content)
    assert len(flat(ShardBatches(load(tmp_path)[1], 3))) == 7
    with pytest.raises(DamagedImage, match=first.name):
        list(ShardBatches(load(tmp_path, strict=True)[1], 3))
    first.write_bytes(content[:700])
    with pytest.raises(DamagedImage, match=f"{first.name} cannot be read"):
        list(ShardBatches(load(tmp_path)[1], 3))


def test_training_on_random_crops_of_shards_goes_on_bit_for_bit(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("imagenet-resnet18", [
        f"data.name=webdataset:{place}", "data.image_size=16", "data.workers=0", "epochs=2",
        "data.evaluation={a: 16, b: 20}", "model.name=small", "batch_size=4", "threads=1",
    ])  # fmt: skip
    whole = train_recipe(recipe, tmp_path / "whole")
    assert whole["result"]["images"] == 8
    after = Preemption.on_train_batch_end

    def stop(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.requested = trainer.current_epoch == 1 and batch_idx == 2
        after(self, trainer, module, outputs, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "on_train_batch_end", stop)
        with pytest.raises(Preempted, match="epoch 2 after batch 3"):
            train_recipe(recipe, tmp_path / "stopped")
    assert train_recipe(recipe, tmp_path / "stopped")["result"] == whole["result"]
    assert set(evaluate_run(tmp_path / "whole")["evaluations"]) == {"a", "b"}
