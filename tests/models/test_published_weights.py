"""The published networks: loaded, they get as many test images right as their card says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch

import rfaconv.models
from rfaconv.cli.main import main
from rfaconv.export import from_pretrained
from rfaconv.lab.data import DataSpec, Normalize, load_data
from rfaconv.models.published import WEIGHTS, Published, default_place, published

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "weights"
NAMES = [one.name for one in published()]
assert rfaconv.models.MODEL_NAMES


@pytest.fixture(params=published(), ids=lambda one: one.name)
def network(request: pytest.FixtureRequest) -> Published:
    one: Published = request.param
    return one


def test_every_folder_is_listed_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # an installed package looks there
    assert default_place().resolve() == PLACE
    assert sorted(folder.name for folder in PLACE.iterdir()) == NAMES
    assert sum(one.bytes for one in published()) < 25e6


def test_card_file_and_list_agree(network: Published) -> None:
    assert network.state(PLACE) == "here"
    assert network.bytes == (PLACE / network.name / WEIGHTS).stat().st_size <= 10e6
    card = (PLACE / network.name / "README.md").read_text(encoding="utf-8")
    for text in (network.sha256, network.commit, network.command, f"{network.top1:.2%}"):
        assert text in card
    assert len(network.commit) == 40


def test_timm_and_from_pretrained_make_it(network: Published) -> None:
    by_timm = timm.create_model(f"local-dir:{PLACE / network.name}", pretrained=True).eval()
    found = from_pretrained(PLACE / network.name)
    assert sum(p.numel() for p in found.parameters()) == network.parameters
    x = torch.randn(2, *found.pretrained_cfg["input_size"])
    assert torch.equal(found(x), by_timm(x))
    assert len(found.pretrained_cfg["label_names"]) == found(x).shape[1] == 10


def test_it_gets_the_test_images_right_that_its_card_says(network: Published, shared: Path) -> None:
    data = load_data(DataSpec(network.command.split()[2], root=shared / "data", part="test"))
    model = from_pretrained(PLACE / network.name)
    config = model.pretrained_cfg
    assert tuple(config["label_names"]) == tuple(data.classes)
    assert len(data.val) == network.test_images
    normalize = Normalize(config["mean"], config["std"])
    images, labels = data.val.__getitems__(range(len(data.val)))
    with torch.inference_mode():
        right = sum(
            int((model(normalize(part)).argmax(1) == expected).sum())
            for part, expected in zip(images.split(500), labels.split(500), strict=True)
        )
    # another processor may turn the one image over that lies between two classes
    assert right == pytest.approx(network.top1 * network.test_images, abs=2)


def test_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", str(PLACE), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["file"]) for row in rows] == [(name, "here") for name in NAMES]
    assert rows[0]["sha256"] == published()[0].sha256
    assert main(["weights"]) == 0
    table = capsys.readouterr().out
    assert all(f"{100 * one.top1:.2f}" in table for one in published())


def test_damaged_and_absent_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", str(tmp_path), "--json"]) == 0
    assert {row["file"] for row in json.loads(capsys.readouterr().out)} == {"absent"}
    shutil.copytree(PLACE / NAMES[0], tmp_path / NAMES[0])
    path = tmp_path / NAMES[0] / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["weights", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["file"] == "damaged"
    assert main(["weights", str(tmp_path / "no")]) == 2
    assert "place: expected a folder" in capsys.readouterr().err
