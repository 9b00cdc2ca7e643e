from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from rfaconv.data import DataSpec, EpochShuffle, load_data, train_loader
from rfaconv.errors import InvalidArgument
from rfaconv.training.device import resolve_device
from rfaconv.training.fit import FitResult, fit
from rfaconv.training.module import EpochRecord, Schedule, TrainingDiverged, one_cycle
from rfaconv.training.networks import build_network

DATA = load_data(DataSpec("digits", limit=96))


def network(operator: str = "ca") -> nn.Module:
    return build_network("small", operator, classes=10, channels=1, image_size=8, seed=3)


def train(model: nn.Module, epochs: int = 3, **options: object) -> FitResult:
    return fit(model, DATA, Schedule(epochs, batch_size=32), seed=5, **options)  # type: ignore[arg-type]


def test_equal_seeds_give_equal_numbers_and_weights() -> None:
    models = [network(), network()]
    first = train(models[0], 2)
    torch.randn(17)  # whatever ran before must not matter
    second = train(models[1], 2)
    assert first.history == second.history
    for one, other in zip(*(m.state_dict().values() for m in models), strict=True):
        assert torch.equal(one, other)


class Cut(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_that_was_cut_off_ends_with_the_same_weights(tmp_path: Path, after: int) -> None:
    whole = network()
    expected = train(whole)
    file = tmp_path / "run.ckpt"

    def stop(record: EpochRecord) -> None:
        if record.epoch == after + 1:
            raise Cut

    with pytest.raises(Cut):
        train(network(), checkpoint=file, checkpoint_seconds=0, on_epoch=stop)
    assert file.exists()
    torch.randn(5)
    seen: list[int] = []
    resumed = network()
    result = train(resumed, checkpoint=file, on_epoch=lambda record: seen.append(record.epoch))
    assert seen == list(range(after + 1, 3))
    assert result.history == expected.history
    assert result.correct == expected.correct
    for one, other in zip(*(m.state_dict().values() for m in (whole, resumed)), strict=True):
        assert torch.equal(one, other)


def test_correct_counts_the_validation_images() -> None:
    model = network("conv")
    result = train(model, 2)
    model.eval()
    images, labels = DATA.val.__getitems__(list(range(len(DATA.val))))
    x = (images / 255 - DATA.mean[0]) / DATA.std[0]
    with torch.no_grad():
        right = int((model(x).argmax(1) == labels).sum())
    assert result.correct == right
    assert result.top1 == right / 450


def test_loss_that_is_no_number_is_said() -> None:
    with pytest.raises(TrainingDiverged, match="not a number in epoch 1; lower the learning rate"):
        fit(network("conv"), DATA, Schedule(1, batch_size=16, lr=1e30), seed=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 100])
def test_learning_rate_of_short_and_long_runs(steps: int) -> None:
    factors = [one_cycle(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1
    peak = factors.index(1.0)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize("batch_size", [24, 32, 96])  # four, three and one step
def test_a_few_steps_are_a_run_too(batch_size: int) -> None:
    result = fit(network("conv"), DATA, Schedule(1, batch_size=batch_size), seed=0)
    assert len(result.history) == 1


def test_order_depends_on_seed_and_epoch_only() -> None:
    sampler = EpochShuffle(50, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert first == list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != list(EpochShuffle(50, seed=2))


def test_last_incomplete_batch_is_left_out_and_small_sets_are_one_batch() -> None:
    assert [len(y) for _, y in train_loader(DATA.train, 40, seed=0)] == [40, 40]
    assert [len(y) for _, y in train_loader(DATA.train, 500, seed=0)] == [96]


def test_shared_layers_start_equal_for_every_operator() -> None:
    plain, ours = network("conv").state_dict(), network("rfcbam").state_dict()
    assert torch.equal(plain["layer4.0.conv2.weight"], ours["layer4.0.conv2.weight"])
    assert torch.equal(plain["fc.weight"], ours["fc.weight"])
    assert set(ours) > set(plain)


@pytest.mark.parametrize(
    ("size", "expected"), [(8, (1, 8)), (32, (1, 32)), (64, (2, 32)), (96, (2, 24))]
)
def test_stem_suits_the_image(size: int, expected: tuple[int, int]) -> None:
    model = build_network("small", "conv", classes=3, channels=3, image_size=size, seed=0)
    seen: list[int] = []
    model.layer1.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-1]))
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 3)
    assert (model.conv1.stride[0], seen[0]) == expected


def test_networks_of_timm_and_bad_names() -> None:
    model = build_network("resnet18", "ca", classes=4, channels=1, image_size=16, seed=0)
    assert type(model.layer1[0].conv1).__name__ == "CAConv2d"
    assert type(model.layer1[0].conv2) is nn.Conv2d
    bottleneck = build_network("resnet50", "cam", classes=4, channels=3, image_size=64, seed=0)
    assert type(bottleneck.layer1[0].conv2).__name__ == "CAMConv2d"
    with pytest.raises(InvalidArgument, match="did you mean resnet18"):
        build_network("resnet81", "ca", classes=4, channels=1, image_size=16, seed=0)
    with pytest.raises(InvalidArgument, match="did you mean rfcbam"):
        build_network("small", "rfcbm", classes=4, channels=1, image_size=16, seed=0)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "meta", "gpu0"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^device: expected"):
        resolve_device(name)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"lr": float("nan")}])
def test_bad_schedules(change: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(change))):
        dataclasses.replace(Schedule(1), **change)
