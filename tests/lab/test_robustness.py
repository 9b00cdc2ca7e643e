"""Corrupted images: the same for every network, worse with the strength, judged as clean ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_own_images import masks
from torch import Tensor, nn

from rfaconv.cli.main import main
from rfaconv.lab import robustness
from rfaconv.lab.data import ImageData, TensorImages
from rfaconv.lab.recipes import read_recipe
from rfaconv.lab.robustness import CORRUPTIONS, corrupted, corrupted_figures
from rfaconv.lab.train import train_recipe


def pictures(count: int = 6, channels: int = 3) -> Tensor:
    """Smooth gradients with an edge, so that every corruption changes them."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, channels, 4, 4, generator=generator)
    images = nn.functional.interpolate(small, 32, mode="bilinear")
    images[:, :, 10:20, 8:24] = 1 - images[:, :, 10:20, 8:24]
    return (images * 200 + 20).round().to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_stronger_is_further_from_the_image(kind: str, channels: int) -> None:
    images = pictures(channels=channels)
    state = torch.get_rng_state()
    distances = []
    assert len(CORRUPTIONS[kind].strengths) == 5
    for strength in CORRUPTIONS[kind].strengths:
        changed = corrupted(images, kind, strength, seed=7)
        assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
        assert torch.equal(changed, corrupted(images, kind, strength, seed=7))
        distances.append(float((changed.float() - images.float()).square().mean()))
    assert distances == sorted(set(distances)) and distances[0] > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_has_its_standard_deviation_and_follows_its_seed() -> None:
    grey = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    noise = corrupted(grey, "noise", 0.1, seed=1).float() / 255 - 128 / 255
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert not torch.equal(corrupted(grey, "noise", 0.1, seed=2), corrupted(grey, "noise", 0.1, 1))


class Seen(nn.Module):
    """Notes what it is given; says class 0 for bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x)
        bright = x.mean((1, 2, 3))
        return torch.stack([bright, -bright], 1)


def small_data() -> ImageData:
    images = pictures(300)
    images[::2] //= 4
    labels = torch.arange(300) % 2 == 0
    sets = TensorImages(images, labels.long())
    mean, std = (0.4,) * 3, (0.2,) * 3
    return ImageData(("bright", "dark"), 3, 32, mean, std, "x", sets, sets, False, "digest")


def test_every_network_sees_the_same_images_normalised_after_the_corruption(monkeypatch) -> None:
    chosen = {name: CORRUPTIONS[name] for name in ("noise", "dark")}
    monkeypatch.setattr(robustness, "CORRUPTIONS", chosen)
    data, one, two = small_data(), Seen(), Seen()
    value = corrupted_figures(one, data)
    torch.rand(5)  # another state of the generator
    assert corrupted_figures(two, data) == value
    for a, b in zip(one.inputs, two.inputs, strict=True):
        assert torch.equal(a, b)
    # clean, then both kinds in five strengths, of two batches each
    assert [len(x) for x in one.inputs] == [256, 44] * 11
    darkest = corrupted(data.val.images[256:], "dark", 0.25)
    expected = (darkest / 255 - 0.4) / 0.2
    torch.testing.assert_close(one.inputs[-1], expected)
    # an image is bright above 0.4, and none is when all are dark
    assert value["clean"]["top1"] > 0.9 and value["kinds"]["dark"]["top1"][-1] == 0.5
    every = [v for kind in value["kinds"].values() for v in kind["top1"]]
    assert value["mean"]["top1"] == pytest.approx(sum(every) / 10)
    assert value["kinds"]["dark"]["strengths"] == [0.9, 0.8, 0.6, 0.4, 0.25]


def test_a_run_of_another_task_is_refused_by_its_name(tmp_path: Path, capsys) -> None:
    masks(tmp_path / "masks")
    words = [str(tmp_path / "masks"), "epochs=1", "batch_size=4", "model.width=0.125"]
    run = str(tmp_path / "run")
    assert main(["train", *words, "--accelerator", "cpu", "--out", run]) == 0
    capsys.readouterr()
    assert main(["eval", run, "--corrupt"]) == 2
    assert "a run of task classify, got one of task segment" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "run" / robustness.FILE).exists()


def test_the_command(tmp_path: Path, monkeypatch, capsys) -> None:
    chosen = {name: CORRUPTIONS[name] for name in ("noise", "contrast")}
    monkeypatch.setattr(robustness, "CORRUPTIONS", chosen)
    recipe = read_recipe("digits", ["data.limit=200", "epochs=1", "model.operator=conv"])
    trained = train_recipe(recipe, tmp_path)["result"]
    assert main(["eval", str(tmp_path), "--corrupt", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "corrupted.json").read_text(encoding="utf-8")) == value
    assert value["clean"]["top1"] == pytest.approx(trained["top1"])
    assert (value["checkpoint"], list(value["kinds"])) == ("epoch-0001", ["noise", "contrast"])
    assert main(["eval", str(tmp_path), "--corrupt"]) == 0
    printed = capsys.readouterr().out
    assert "noise (Gaussian" in printed and f"{value['mean']['top1']:.2%}" in printed
    assert main(["eval", str(tmp_path), "--corrupt", "--gates"]) == 2
    assert "one of --corrupt, --gates and --data" in " ".join(capsys.readouterr().err.split())
