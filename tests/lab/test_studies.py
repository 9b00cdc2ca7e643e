"""What a comparison is asked for: recipes, operators and seeds, in words or in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_own_images import classes, voc

from rfaconv.cli.main import main
from rfaconv.lab.progress import Cell
from rfaconv.lab.store import file_name
from rfaconv.lab.study import Grid, Study


def test_studies(tmp_path: Path) -> None:
    classes(tmp_path / "own")
    voc(tmp_path / "boxes")
    study = Study(
        recipes=(
            "digits", {"base": "digits", "name": "short", "epochs": 1, "model": {"width": 2}},
            str(tmp_path / "own"), str(tmp_path / "boxes"),
        ),
        operators=("rfa", "conv"), seeds=(3, 5), set=("batch_size=2",),
    )  # fmt: skip
    grid = Grid(study)
    assert list(grid.recipes) == ["digits", "short", "own", "boxes"]
    assert [recipe.task for recipe in grid.recipes.values()] == ["classify"] * 3 + ["detect"]
    assert {recipe.batch_size for recipe in grid.recipes.values()} == {2}
    assert (grid.recipes["short"].epochs, grid.recipes["short"].model.width) == (1, 2)
    assert grid.recipes["short"].model.operator == "rfa"
    assert grid.baseline == "conv"
    assert grid.cells[:2] == (Cell("digits", "rfa", 3), Cell("digits", "conv", 3))
    assert len(grid.cells) == 16


@pytest.mark.parametrize(
    "names",
    [("犬", "猫"), ("my a", "my-a"), ("A", "a"), ("a-2", "b", "a-2", "a-2"), ("[a]", "(a)")],
)
def test_trainings_of_all_recipes_have_files_of_their_own(names: tuple[str, ...]) -> None:
    recipes = tuple({"base": "digits", "name": name} for name in names)
    grid = Grid(Study(recipes=recipes, operators=("conv",), seeds=(0,)))
    assert len({file_name(cell).casefold() for cell in grid.cells}) == len(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipes: []", "recipes: expected one or more"),
        ("recipes: [digits]\nrecipes: [eurosat]", "the key 'recipes' twice"),
        ("recipes: [digits]\noperaters: [rfa]", "did you mean operators"),
        ("recipes: digits", "recipes: expected a valid tuple"),
        ("recipes: [digits]\nseeds: [1, 1]", "seeds: expected each seed once"),
    ],
)
def test_bad_studies_write_nothing(text: str, said: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    words = ["compare", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("recipes: [digits]\noperators: [conv]\nseeds: [0]\nepoch: 3", encoding="utf-8")
    assert main(["compare", str(file), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: epoch: ")
    file.write_text(
        "recipes:\n- {base: digits, name: few, data: {limit: 32}}\noperators: [conv]\n"
        "seeds: 1\nset: [epochs=1, batch_size=16]",
        encoding="utf-8",
    )
    assert main(["compare", str(file), "--out", str(tmp_path / "out"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["recipes"]["few"]["train_images"] == 32
    assert results["recipes"]["few"]["operators"]["conv"]["steps"] == 2
