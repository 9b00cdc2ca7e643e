from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data, recipe_network
from rfaconv.lab.data import DataSpec, EpochShuffle, load_data
from rfaconv.lab.data.base import TensorImages
from rfaconv.lab.data.loaders import GlobalBatches
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.networks.classifiers import build_network
from rfaconv.lab.recipes import read_recipe
from rfaconv.lab.train import train_recipe
from rfaconv.lab.training.class_weights import class_weights
from rfaconv.lab.training.device import resolve_device
from rfaconv.lab.training.saves import WEIGHTS, last_good
from rfaconv.lab.training.schedules import one_cycle
from rfaconv.nn import RFAConv2d

DATA = load_data(DataSpec("digits", limit=96))


def network(operator: str = "ca") -> nn.Module:
    return build_network("small", operator, classes=10, channels=1, image_size=8, seed=3)


def recipe(*more: str):
    return read_recipe("digits", ["data.limit=96", "epochs=2", "batch_size=32", *more])


def test_equal_seeds_give_equal_numbers_and_weights(tmp_path: Path) -> None:
    results = []
    for name in ("one", "other"):
        torch.randn(17)  # whatever ran before must not matter
        results.append(train_recipe(recipe(), tmp_path / name)["result"])
    assert results[0] == results[1]
    one, other = (load_file(last_good(tmp_path / n)[0] / WEIGHTS) for n in ("one", "other"))
    for key, value in one.items():
        assert torch.equal(value, other[key])


def test_the_score_counts_the_validation_images(tmp_path: Path) -> None:
    chosen = recipe("model.operator=conv")
    value = train_recipe(chosen, tmp_path / "run")
    data = recipe_data(chosen)
    model = recipe_network(chosen, data, last_good(tmp_path / "run")[0] / WEIGHTS).eval()
    images, labels = data.val.__getitems__(list(range(len(data.val))))
    x = (images / 255 - data.mean[0]) / data.std[0]
    with torch.no_grad():
        right = int((model(x).argmax(1) == labels).sum())
    result = value["result"]
    assert result["top1"] == pytest.approx(right / 450)
    assert (value["task"], result["score_name"], result["images"]) == ("classify", "top1", 450)
    assert [row["steps"] for row in result["curve"]] == [3, 6] and result["steps"] == 6
    assert result["curve"][-1]["top1"] == result["top1"]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 100])
def test_learning_rate_of_short_and_long_runs(steps: int) -> None:
    factors = [one_cycle(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1
    peak = factors.index(1.0)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize("batch_size", [24, 32, 96, 500])  # four, three, one and one step
def test_a_few_steps_are_a_run_too(batch_size: int, tmp_path: Path) -> None:
    chosen = recipe(f"batch_size={batch_size}", "epochs=1", "model.operator=conv")
    steps = {24: 4, 32: 3}.get(batch_size, 1)
    assert train_recipe(chosen, tmp_path / "run")["result"]["steps"] == steps


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
    assert [len(batch) for batch in GlobalBatches(len(DATA.train), 40, seed=0)] == [40, 40]
    assert [len(batch) for batch in GlobalBatches(len(DATA.train), 500, seed=0)] == [96]


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


@pytest.mark.parametrize("change", ["epochs=0", "batch_size=0", "optimizer.lr=.nan"])
def test_bad_schedules(change: str) -> None:
    with pytest.raises(InvalidArgument, match=change.partition("=")[0]):
        recipe(change)


@pytest.mark.parametrize(
    ("name", "operator"), [("convnext_atto", "conv"), ("mobilenetv3_small_050", "ca")]
)
def test_any_network_of_timm_goes_on_and_is_judged(
    name: str, operator: str, tmp_path: Path
) -> None:
    options = [f"model.operator={operator}", f"model.name={name}", "data.image_size=32",
               "data.limit=16", "batch_size=8", "optimizer.name=lamb", "optimizer.lr=1e-3",
               "learning_rate.name=tanh"]  # fmt: skip
    first, said = recipe(*options, "epochs=2"), []
    whole = train_recipe(first, tmp_path / "run")["result"]
    shutil.rmtree(tmp_path / "run/checkpoints/epoch-0002")
    assert train_recipe(first, tmp_path / "run", log=said.append)["result"] == whole
    assert "epoch-0001" in said[0]
    assert evaluate_run(tmp_path / "run")["top1"] == pytest.approx(whole["top1"])


def test_pretrained_weights_from_a_file(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(4)
    plain = timm.create_model("resnet10t", num_classes=1000)
    save_file(plain.state_dict(), tmp_path / "weights.safetensors")
    options = [f"model.pretrained={tmp_path / 'weights.safetensors'}", "model.name=resnet10t",
               "data.image_size=32", "data.limit=32"]  # fmt: skip
    chosen = recipe(*options, "model.operator=conv")
    data = recipe_data(chosen)
    kept = recipe_network(chosen, data)
    assert torch.equal(kept.layer4[0].conv2.weight, plain.layer4[0].conv2.weight)
    converted = recipe_network(recipe(*options), data).eval()
    x = torch.rand(2, 1, 32, 32)
    assert sum(isinstance(m, RFAConv2d) for m in converted.modules()) == 4
    torch.testing.assert_close(converted(x), kept.eval()(x), rtol=1e-3, atol=1e-3)
    # a run's weights need neither the file nor the net
    state = {k: v.contiguous() for k, v in converted.state_dict().items()}
    save_file(state, tmp_path / "run.safetensors")
    (tmp_path / "weights.safetensors").unlink()
    again = recipe_network(recipe(*options), data, tmp_path / "run.safetensors").eval()
    assert torch.equal(again(x), converted(x))
    with pytest.raises(InvalidArgument, match=r"model\.pretrained: expected weights of resnet10t"):
        recipe_network(recipe(*options), data)


def test_positions_by_name() -> None:
    data = recipe_data(recipe())

    def replaced(*where: str) -> list[str]:
        chosen = recipe(f"model.where=[{', '.join(where)}]")
        network = recipe_network(chosen, data)
        return [name for name, m in network.named_modules() if isinstance(m, RFAConv2d)]

    usual = [f"layer{n}.0.conv1" for n in (1, 2, 3, 4)]
    assert replaced("basic_block_conv1") == usual
    assert replaced("downsampling") == usual[1:]
    assert replaced("layer1.0.conv2", "layer2.*.conv1") == ["layer1.0.conv2", "layer2.0.conv1"]
    with pytest.raises(InvalidArgument):
        replaced("nowhere.*")
    with pytest.raises(InvalidArgument, match=r"model\.operator: expected conv or an operator"):
        recipe_network(recipe("model.operator=features", "model.where=[spatial]"), data)


@pytest.mark.parametrize(
    "augment", ["shift+randaugment", "none+trivialaugment", "shift+mixup", "shift+cutmix"]
)
def test_augmentations_are_functions_of_the_seed(augment: str, tmp_path: Path) -> None:
    chosen = recipe(f"data.augment={augment}", "epochs=1", "class_weights=balanced")
    results = [train_recipe(chosen, tmp_path / name)["result"] for name in "ab"]
    assert results[0] == results[1]
    plain = train_recipe(recipe("epochs=1"), tmp_path / "plain")["result"]
    assert results[0]["curve"][0]["train_loss"] != plain["curve"][0]["train_loss"]


def test_weights_of_classes() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    images = TensorImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels)
    assert class_weights("balanced", images, 2).tolist() == pytest.approx([2 / 3, 2])
    assert class_weights((1.0, 3.0), images, 2).tolist() == [1, 3]
    assert class_weights(None, images, 2) is None
    with pytest.raises(InvalidArgument, match="class_weights: expected 2 numbers, got 3"):
        class_weights((1.0, 2.0, 3.0), images, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.augment=shift+rotate", "augment one of shift, resized-crop, none"),
        ("data.augment=mixup", "augment one of shift"),
        ("data.augment=shift+mixup+cutmix", "one of mixup and cutmix"),
        ("model.pretrained=true", "model.name of timm with model.pretrained"),
        ("class_weights=[0]", "greater than 0"),
    ],
)
def test_bad_options(change: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        recipe(change)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.name=adamm", "did you mean"),
        ("model.name=resnet81", "did you mean resnet18"),
        ("model.name=convnext_atto", "data.image_size: expected a size that convnext_atto takes"),
    ],
)
def test_unknown_names_leave_nothing(change: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        train_recipe(recipe(change), tmp_path / "run")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()
