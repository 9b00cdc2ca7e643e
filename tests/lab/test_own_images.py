"""A folder of one's own images in one word: trained, judged, used to predict, exported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.lab.building import recipe_data
from rfaconv.lab.data.yolo.reading import read_yolo
from rfaconv.lab.looking import look
from rfaconv.lab.recipes import apply_overrides
from rfaconv.lab.study import source_values

SIDE, COUNT = 64, 6


def squares(root: Path, count: int = COUNT) -> list[tuple[Path, np.ndarray, tuple[int, ...]]]:
    """Files to be written, masks and boxes: a bright square in each dark image."""
    found = []
    for index in range(count):
        x, y = 4 * index, 30 - 3 * index
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[y : y + 28, x : x + 28] = 1
        found.append((root / f"my pic {index}.png", mask, (x, y, x + 28, y + 28)))
    return found


def picture(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(mask[:, :, None] * 180 + 30, 3, axis=2)).save(path)


def classes(root: Path, parts: tuple[str, ...] = ("",)) -> None:
    for part in parts:
        for path, mask, _ in squares(root / part / "square"):
            picture(path, mask)
            picture(root / part / "nothing" / path.name, mask * 0)


def voc(root: Path, splits: tuple[str, ...] = ("train", "val")) -> None:
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets/Main").mkdir(parents=True)
    names = []
    for path, mask, (a, b, c, d) in squares(root / "JPEGImages"):
        picture(path, mask)
        names.append(path.stem)
        corners = f"<xmin>{a + 1}</xmin><ymin>{b + 1}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        text = f"<object><name>square</name><bndbox>{corners}</bndbox></object>"
        label = root / "Annotations" / f"{path.stem}.xml"
        label.write_text(f"<annotation>{text}</annotation>", encoding="utf-8")
    for split in splits:
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names), encoding="utf-8")


def coco(root: Path, name: str = "annotations/instances_{}.json") -> None:
    for split in ("train", "valid"):
        images, notes = [], []
        for number, (path, mask, (a, b, c, d)) in enumerate(squares(root / split)):
            picture(path, mask)
            images.append({"id": number, "file_name": path.name, "width": SIDE, "height": SIDE})
            notes.append({"image_id": number, "category_id": 1, "bbox": [a, b, c - a, d - b]})
        content = {"images": images, "annotations": notes,
                   "categories": [{"id": 1, "name": "square"}]}  # fmt: skip
        file = root / name.format(split)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")


def yolo(root: Path, splits: tuple[str, ...] = ("train", "val")) -> None:
    for split in splits:
        for path, mask, (a, b, c, d) in squares(root / "images" / split):
            picture(path, mask)
            row = [(a + c) / 2, (b + d) / 2, c - a, d - b]
            label = root / "labels" / split / f"{path.stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            text = "0 " + " ".join(f"{value / SIDE:.6f}" for value in row)
            label.write_text(text, encoding="utf-8")
    lines = [f"{split}: images/{split}" for split in splits]
    text = "\n".join(["path: .", *lines, "names: {0: square}"])
    (root / "data.yaml").write_text(text, encoding="utf-8")


def masks(root: Path, below: tuple[str, ...] = ("train", "val"), value: int = 1) -> None:
    for split in below:
        for path, mask, _ in squares(root / "images" / split):
            picture(path, mask)
            (root / "masks" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask * value).save(root / "masks" / split / path.name)


FOLDERS: dict[str, Callable[[Path], None]] = {
    "classes": classes, "voc": voc, "coco": coco, "yolo": yolo, "masks": masks,
}  # fmt: skip


@pytest.mark.timeout(900)  # the default exporter takes minutes for a detector on a busy machine
@pytest.mark.parametrize("kind", FOLDERS)
def test_train_eval_predict_export(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDERS[kind](tmp_path / "own images")
    assert main(["train", "own images", "epochs=1"]) == 0
    said = capsys.readouterr()
    assert "own images: " in said.err
    run = "runs/own images"
    assert main(["train", "own images", "epochs=1"]) == 0  # again: nothing left to do
    assert main(["eval", run, "--json"]) == 0
    capsys.readouterr()
    places = {"classes": "own images/square", "voc": "own images/JPEGImages"}
    place = places.get(kind, "own images/images/train" if kind != "coco" else "own images/train")
    assert main(["predict", run, place, "--threshold", "0"]) == 0
    found = json.loads(Path("predictions/predictions.json").read_text(encoding="utf-8"))
    expected = {"classes": "classify", "masks": "segment"}.get(kind, "detect")
    assert (found["task"], len(found["pictures"])) == (expected, COUNT)
    pytest.importorskip("pytorch_grad_cam")
    assert main(["explain", run, "own images", "--count", "1", "--threshold", "0.3"]) == 0
    assert Path("explanations/index.html").is_file()
    capsys.readouterr()
    pytest.importorskip("onnxruntime")
    # one detector by the default exporter; the others are the same network
    quick = ["--exporter", "legacy", "--fixed"] if kind in ("coco", "yolo") else []
    assert main(["export", run, "--to", "onnx", "--check", *quick]) == 0
    assert json.loads(Path("own images.onnx.check.json").read_text(encoding="utf-8"))["passed"]
    assert main(["predict", "own images.onnx", place, "--out", "exported"]) == 0
    theirs = json.loads(Path("exported/predictions.json").read_text(encoding="utf-8"))
    assert (theirs["task"], theirs["classes"]) == (expected, found["classes"])


@pytest.mark.parametrize(
    ("make", "kind", "data"),
    [
        (lambda p: classes(p, ("train", "val")), "classes", {}),
        (lambda p: voc(p, ("trainval", "test")), "voc", {"train": "trainval", "val": "test"}),
        (lambda p: voc(p, ("train",)), "voc", {"train": "train", "val": None}),
        (lambda p: voc(p, ()), "voc", {"train": "", "val": None}),
        (lambda p: coco(p, "{}/_annotations.coco.json"), "coco", {"val": "valid"}),
        (lambda p: yolo(p, ("train", "test")), "yolo", {"val": "test"}),
        (lambda p: yolo(p, ("train",)), "yolo", {"val": None}),
        (lambda p: masks(p, ("",)), "masks", {"train": "", "val": None}),
        (lambda p: masks(p, ("train", "test"), 255), "masks",
         {"classes": ["background", "object"], "val": "test"}),
        (lambda p: masks(p, ("train",), 2), "masks",
         {"classes": ["background", "class 1", "class 2"]}),
    ],
)  # fmt: skip
def test_what_a_folder_is(
    make: Callable[[Path], None], kind: str, data: dict[str, object], tmp_path: Path
) -> None:
    make(tmp_path)
    seen = look(tmp_path)
    assert seen.kind == kind
    assert data.items() <= seen.recipe["data"].items()


def beside(root: Path) -> None:
    """XML files and images in one folder."""
    voc(root, ())
    for file in [*(root / "Annotations").iterdir(), *(root / "JPEGImages").iterdir()]:
        file.rename(root / file.name)
    shutil.rmtree(root / "Annotations")
    shutil.rmtree(root / "JPEGImages")


VOC_FORMS: dict[str, Callable[[Path], None]] = {
    "none": lambda p: voc(p, ()), "below": lambda p: voc(p / "VOC2007", ()),
    "below with lists": lambda p: voc(p / "VOC2007"), "beside": beside,
}  # fmt: skip


@pytest.mark.parametrize("form", VOC_FORMS)
def test_voc_without_lists_is_read_by_train_as_by_yolo_data(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    VOC_FORMS[form](tmp_path / "own")
    assert main(["yolo", "data", "own", "--out", "set"]) == 0
    theirs = read_yolo("set", "train")
    sets = recipe_data(apply_overrides(look(tmp_path / "own").recipe, ()))
    assert sets.classes == theirs.classes == ("square",)
    split = "lists" not in form
    assert (len(sets.train), len(sets.val)) == ((5, 1) if split else (COUNT, COUNT))
    assert (len(theirs), len(read_yolo("set", "val"))) == (len(sets.train), len(sets.val))
    _, values, _ = source_values("own", "yolo")
    assert len(recipe_data(apply_overrides(values, ())).train) == len(sets.train)
    if form == "none":
        for path, mask, _ in squares(tmp_path / "own/predictions"):
            picture(path, mask)  # as of predict in the folder
        assert len(recipe_data(apply_overrides(values, ())).train) == len(sets.train)
        assert main(["train", "own", "epochs=1"]) == 0
        assert "training on all, a fifth held out" in capsys.readouterr().err


def test_other_xml_beside_folders_of_classes(tmp_path: Path) -> None:
    classes(tmp_path)
    for name, text in (("about.xml", "<about/>"), ("broken.xml", "<")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert look(tmp_path).kind == "classes"


def test_a_fifth_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    masks(tmp_path / "own", ("",), 255)
    assert main(["train", "own", "epochs=1"]) == 0
    said = capsys.readouterr()
    assert "a fifth held out" in said.err
    assert "5 images to learn from, 1 to judge on" in said.err


@pytest.mark.parametrize(
    ("content", "named"),
    [({}, "an empty folder"), ({"a.txt": "1", "b.csv": "2"}, "a.txt, b.csv")],
)
def test_what_is_no_data_set_is_said(
    content: dict[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for name, text in content.items():
        (tmp_path / "own" / name).write_text(text, encoding="utf-8")
    assert main(["train", "own"]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_yolo_labels(tmp_path: Path) -> None:
    yolo(tmp_path)
    labels = sorted((tmp_path / "labels/train").iterdir())
    labels[0].write_text("0 0.25 0.25 0.5 0.25 0.5 0.5\n", encoding="utf-8")  # a polygon
    labels[1].write_text("0 0.5 0.5 1 1\n7 0.5 0.5 0.1 0.1\nx y\n0.5 1 1 1 1\n", encoding="utf-8")
    labels[2].unlink()
    found = read_yolo(tmp_path, "train")
    assert found.samples[0].boxes == ((16, 16, 32, 32),)
    assert found.samples[1].boxes == ((0, 0, SIDE, SIDE),)
    assert found.samples[2].boxes == ()
    assert sorted(p.kind for p in found.problems) == ["bad label", "bad label", "unknown class"]
    with pytest.raises(InvalidArgument, match="split: expected one of train, val"):
        read_yolo(tmp_path, "test")


def test_a_folder_of_pictures_by_its_other_name(tmp_path: Path, capsys) -> None:
    classes(tmp_path)
    assert main(["train", "folder", f"data.root={tmp_path}"]) == 2
    assert "data.name=folder:PATH" in capsys.readouterr().err


def test_recipes_are_listed_with_what_they_are(capsys) -> None:
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("digits ") and "bundled" in line for line in lines)
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_published_folders_predict(tmp_path: Path, capsys) -> None:
    weights = Path(__file__).parents[2] / "weights" / "eurosat-rfa"
    if not (weights / "model.safetensors").is_file():
        pytest.skip("needs the published weights")
    picture(tmp_path / "0.png", np.ones((SIDE, SIDE), np.uint8))
    out = tmp_path / "out"
    assert main(["predict", str(weights), str(tmp_path / "0.png"), "--out", str(out)]) == 0
    found = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert "River" in found["classes"]


def test_no_run_and_no_folder(tmp_path: Path, capsys) -> None:
    picture(tmp_path / "0.png", np.ones((SIDE, SIDE), np.uint8))
    (tmp_path / "empty").mkdir()
    for place, said in (("empty", "an empty folder"), ("gone", "which does not exist")):
        assert main(["predict", str(tmp_path / place), str(tmp_path / "0.png")]) == 2
        assert said in capsys.readouterr().err
    assert not shutil.os.path.exists("predictions")


def test_summary_knows_the_networks_of_the_package() -> None:
    words = [sys.executable, "-m", "rfaconv.cli.main", "summary", "rfa_resnet18", "--json"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout)["model"] == "rfa_resnet18"


@pytest.mark.parametrize("kind", ["voc", "masks"])
def test_images_change_by_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDERS[kind](tmp_path / "own")
    words = ["train", "own", "epochs=1", "batch_size=3"]
    words.append("data.augment=hflip+scale-jitter+crop+photometric")
    assert main(words) == 0


def test_one_image_of_another_size(tmp_path: Path) -> None:
    """Whichever it is of how many."""
    masks(tmp_path, ("train",))
    for number in range(130):
        shutil.copy(
            tmp_path / "images/train/my pic 0.png", tmp_path / f"images/train/x{number}.png"
        )
    assert look(tmp_path).recipe["data"]["image_size"] is None
    for part, pixels in (("images", np.zeros((40, 40, 3))), ("masks", np.zeros((40, 40)))):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / "train/x7.png")
    shutil.copy(tmp_path / "masks/train/my pic 0.png", tmp_path / "masks/train/x8.png")
    seen = look(tmp_path)
    assert seen.recipe["data"]["image_size"] == [64, 64]
    with pytest.raises(InvalidArgument, match=r"data.image_size: .* of 64 x 64 and of 40 x 40"):
        recipe_data(apply_overrides(seen.recipe, ["data.image_size=null"]))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Path:
    """A run of one epoch on own images, as of ``rfaconv train own``."""
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "own")
    assert main(["train", "own", "--out", "run", *QUICK]) == 0
    capsys.readouterr()
    return tmp_path / "run"


QUICK = ["epochs=1", "data.image_size=16", "batch_size=4", "--accelerator", "cpu", "--log", "none"]


def test_a_run_predicts_by_the_images_it_was_trained_with(run: Path, tmp_path: Path) -> None:
    def predicted() -> dict:
        assert main(["predict", "run", "given", "--out", "out"]) == 0
        return json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))

    picture(tmp_path / "given/0.png", squares(tmp_path)[0][1])
    before = predicted()
    assert before["classes"] == ["nothing", "square"]
    # another order of classes, another normalisation
    (tmp_path / "own/nothing").rename(tmp_path / "own/zebra")
    picture(tmp_path / "own/square/white.png", np.ones((SIDE, SIDE), np.uint8))
    assert predicted() == before
    shutil.rmtree(tmp_path / "own")
    assert predicted() == before
    (run / "data.json").write_text('{"digest": 3, "classes": null}', encoding="utf-8")
    assert main(["predict", "run", "given", "--out", "out"]) == 2
    (run / "data.json").unlink()  # as of earlier versions
    assert main(["predict", "run", "given", "--out", "out"]) == 2


def test_a_run_does_not_go_on_with_other_images(run: Path, tmp_path: Path, capsys) -> None:
    result = (run / "result.json").read_bytes()
    picture(tmp_path / "own/square/white.png", np.ones((SIDE, SIDE), np.uint8))
    for words in (["train", "own", "--out", "run", *QUICK], ["eval", "run"]):
        assert main(words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "data: expected the images that run was begun with, got others of its" in said
    assert (run / "result.json").read_bytes() == result
    assert main(["eval", "run", "--data", "own"]) == 0
    (tmp_path / "own/nothing").rename(tmp_path / "own/zebra")
    assert main(["train", "own", "--out", "run", *QUICK]) == 2
    assert "got others: classes square, zebra" in capsys.readouterr().err


@pytest.mark.parametrize("parts", [("",), ("train", "val")])
def test_a_run_among_the_classes_is_refused(parts: tuple[str, ...], tmp_path: Path,
                                            monkeypatch, capsys) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "own", parts)
    inside = Path("own", parts[0], "run")
    for command in ("train", "compare"):
        words = [command, "own", *QUICK[:3], "--out", str(inside)]
        assert main(words) == 2
        assert "out: expected a folder outside of" in capsys.readouterr().err
        monkeypatch.chdir(tmp_path / "own" / parts[0])  # the folder of runs is made where one is
        assert main([command, ".", *QUICK[:3]][: 5 if command == "train" else 2]) == 2
        monkeypatch.chdir(tmp_path)
    assert sorted(p.name for p in (tmp_path / "own" / parts[0]).iterdir()) == ["nothing", "square"]


def test_a_place_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "own")
    Path("file").write_text("mine", encoding="utf-8")
    for out in ("file", "file/run"):
        for command in ("train", "compare"):
            assert main([command, "own", *QUICK[:3], "--out", out]) == 2
            assert "out: expected a folder" in capsys.readouterr().err
    assert Path("file").read_text(encoding="utf-8") == "mine"
