"""A class name that is there twice is an error wherever it is written, and the key is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_own_images import classes, coco, masks, yolo

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data.coco import read_coco
from rfaconv.lab.data.masks import read_masks
from rfaconv.lab.data.voc import read_voc_tree
from rfaconv.lab.data.yolo.reading import read_yolo
from rfaconv.lab.looking import look
from rfaconv.lab.recipes import apply_overrides, parsed_recipe


@pytest.mark.parametrize("name", ["masks", "boxes", "yolo"])
def test_in_a_recipe(name: str) -> None:
    values = {**parsed_recipe(name), "data": {**parsed_recipe(name)["data"]}}
    with pytest.raises(InvalidArgument, match=r"data.classes: expected each name once"):
        apply_overrides(values, ["data.classes=[cell, dot, cell]"])


@pytest.mark.parametrize("names", ["[1, '1']", "{0: cell, 1: dot, 2: cell}"])
def test_in_a_description_of_yolo(names: str, tmp_path: Path) -> None:
    yolo(tmp_path)
    text = f"train: images/train\nval: images/val\nnames: {names}"
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"each name of names in .*data.yaml once, got '"):
        read_yolo(tmp_path, "train")


def test_in_a_list_beside_masks(tmp_path: Path) -> None:
    masks(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\ncell\n sky \n", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"path: .*classes.txt once, got 'sky' twice"):
        look(tmp_path)


def test_given_by_hand(tmp_path: Path, capsys) -> None:
    masks(tmp_path)
    out = tmp_path / "out"
    for names in ("cell,dot,cell", "background,cell"):
        words = ["yolo", "data", str(tmp_path), "--classes", names, "--out", str(out)]
        assert main(words) == 2
        assert "classes: expected each name once" in capsys.readouterr().err
    with pytest.raises(InvalidArgument, match="classes: expected each name once"):
        read_masks(tmp_path / "images/train", tmp_path / "masks/train", ["a", "a"])
    with pytest.raises(InvalidArgument, match="classes: expected each name once"):
        read_voc_tree(tmp_path, ["a", "a"])
    assert not out.exists()


def test_in_coco(tmp_path: Path) -> None:
    """What no object is of may have the name of another, as Roboflow's name of the whole set."""
    coco(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["categories"].insert(0, {"id": 0, "name": "square"})
    file.write_text(json.dumps(content), encoding="utf-8")
    found = read_coco(tmp_path / "train", file, strict=True)
    assert found.classes == ("square",) and found.samples[0].labels == (0,)
    content["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"of categories in .*once, got 'square' twice"):
        read_coco(tmp_path / "train", file)


def test_names_that_are_there_once_go_on(tmp_path: Path) -> None:
    classes(tmp_path)
    assert recipe_data(apply_overrides(look(tmp_path).recipe, ())).classes == ("nothing", "square")
