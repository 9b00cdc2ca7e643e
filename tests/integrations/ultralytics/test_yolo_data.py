"""Somebody's folder of labelled pictures becomes a data set that ultralytics reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from rfaconv.cli.main import main
from rfaconv.lab.data.boxes import DetectionSet, Sample
from rfaconv.lab.data.yolo.labelled import unique_names
from rfaconv.lab.data.yolo.polygons import outlines
from rfaconv.lab.data.yolo.writing import write_dataset


def picture(path: Path, value=0, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(value)
    pixels = generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def voc_label(path: Path, boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for n, (a, b, c, d) in boxes
    )
    path.write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")


def voc(root: Path, lists=True):
    for i, split in enumerate(["train", "train", "val"]):
        picture(root / "JPEGImages" / f"cell {i}.jpg", i)
        voc_label(root / "Annotations" / f"cell {i}.xml", [("röd", (1, 1, 32, 24))])
        if lists:
            file = root / "ImageSets" / "Main" / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            # names with spaces are read to the first space, so lists have names without
            with file.open("a", encoding="utf-8") as handle:
                handle.write(f"cell{i}\n")
            for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
                (root / kind / f"cell {i}.{ending}").rename(root / kind / f"cell{i}.{ending}")
    return root


def contents(folder: Path):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_with_ultralytics(data: Path):
    """What ultralytics reads from the data set: rows of labels of every picture, by split."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    found = check_det_dataset(str(data), autodownload=False)
    rows = {}
    for split in ("train", "val", "test"):
        if found.get(split):
            pictures = YOLODataset(
                img_path=found[split], data=found, task="detect", imgsz=32, augment=False,
                hyp=get_cfg(), batch_size=1,
            )  # fmt: skip
            rows[split] = [len(label["cls"]) for label in pictures.labels]
    for cache in data.parent.rglob("*.cache"):
        cache.unlink()
    return rows, found["names"]


def test_voc(tmp_path, capsys):
    root = voc(tmp_path / "my VOC")
    words = ["yolo", "data", str(root), "--out", str(tmp_path / "a set")]
    assert main(words) == 0
    out = capsys.readouterr()
    assert out.out.strip() == str(tmp_path / "a set" / "data.yaml")
    assert "train: 2 pictures, 2 objects" in out.err
    assert "val: 1 pictures, 1 objects" in out.err
    found, names = check_with_ultralytics(tmp_path / "a set" / "data.yaml")
    assert found == {"train": [1, 1], "val": [1]}
    assert names == {0: "röd"}
    label = (tmp_path / "a set/labels/val/cell2.txt").read_text(encoding="utf-8")
    assert label == "0 0.250000 0.250000 0.500000 0.500000\n"
    # again: the same bytes, and nothing of an earlier source stays
    before = contents(tmp_path / "a set")
    assert main(words) == 0
    assert contents(tmp_path / "a set") == before
    # the set may be moved, and so may the pictures it came from
    (tmp_path / "a set").rename(tmp_path / "moved")
    assert check_with_ultralytics(tmp_path / "moved" / "data.yaml")[0] == found


def test_voc_without_lists_is_split_the_same_way_every_time(tmp_path, capsys):
    root = voc(tmp_path / "voc", lists=False)
    picture(root / "JPEGImages" / "unlabelled.jpg")
    (root / "Annotations" / "broken.xml").write_text("<annotation>", encoding="utf-8")
    assert main(["yolo", "data", str(root), "--out", str(tmp_path / "set")]) == 0
    said = capsys.readouterr().err
    assert "unlabelled.jpg: missing label" in said
    assert "broken.xml: bad label" in said
    assert "unlabelled" in (tmp_path / "set" / "problems.txt").read_text(encoding="utf-8")
    assert check_with_ultralytics(tmp_path / "set" / "data.yaml")[0] == {
        "train": [1, 1],
        "val": [1],
    }
    before = contents(tmp_path / "set")
    picture(root / "JPEGImages" / "late.jpg", 9)
    assert main(["yolo", "data", str(root), "--out", str(tmp_path / "set")]) == 0
    after = contents(tmp_path / "set")
    assert {k for k in after if "/val/" in k} == {k for k in before if "/val/" in k}
    assert main(["yolo", "data", str(root), "--out", str(tmp_path / "b"), "--strict"]) == 2
    assert not (tmp_path / "b").exists()


def coco(root: Path):
    polygon = [8, 8, 24, 8, 24, 24, 8, 24]
    mask = np.zeros((48, 64), dtype=int)
    mask[10:20, 30:50] = 1
    flat = mask.T.ravel()  # COCO counts down the columns, zeros first
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    content = {
        "images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "gone.png"}],
        "categories": [{"id": 9, "name": "disc"}, {"id": 3, "name": "square"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [8, 8, 16, 16], "iscrowd": 0,
             "segmentation": [polygon, [40, 30, 50, 30, 50, 40]]},
            {"id": 2, "image_id": 5, "category_id": 9, "bbox": [30, 10, 20, 10], "iscrowd": 0,
             "segmentation": {"size": [48, 64], "counts": runs}},
            {"id": 3, "image_id": 5, "category_id": 9, "bbox": [1, 1, 4, 4], "iscrowd": 0},
        ],
    }  # fmt: skip
    for split in ("train", "val"):
        picture(root / f"{split}2017" / "a.png")
        file = root / "annotations" / f"instances_{split}2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(("task", "rows"), [("detect", 3), ("segment", 2)])
def test_coco(task, rows, tmp_path, capsys):
    coco(tmp_path / "coco")
    words = ["yolo", "data", str(tmp_path / "coco"), "--out", str(tmp_path / "set"), "--task", task]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "gone.png: missing image" in said
    assert ("no outline: annotation 3" in said) == (task == "segment")
    found, names = check_with_ultralytics(tmp_path / "set" / "data.yaml")
    assert found == {"train": [rows], "val": [rows]}
    assert names == {0: "square", 1: "disc"}
    lines = (tmp_path / "set/labels/train/a.txt").read_text(encoding="utf-8").splitlines()
    numbers = np.array(lines[1].split()[1:], dtype=float)
    assert lines[1].startswith("1 ")
    if task == "segment":
        points = numbers.reshape(-1, 2) * (64, 48)
        np.testing.assert_allclose(points.min(0), (30, 10), atol=0.51)
        np.testing.assert_allclose(points.max(0), (50, 20), atol=0.51)
    else:
        np.testing.assert_allclose(numbers, [40 / 64, 15 / 48, 20 / 64, 10 / 48], atol=1e-5)


def test_masks(tmp_path, capsys):
    from ultralytics.data.utils import polygons2masks

    values = np.zeros((48, 64), dtype=np.uint8)
    values[4:20, 4:30] = 1
    values[30:40, 10:50] = 2
    values[2:12, 40:60] = 2
    values[25, 60] = 1  # one pixel is an object, too
    for i in range(5):
        picture(tmp_path / "m" / "images" / f"{i}.jpg", i)
        (tmp_path / "m" / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "m" / "masks" / f"{i}.png")
    words = ["yolo", "data", str(tmp_path / "m"), "--out", str(tmp_path / "set")]
    assert main(words) == 2
    assert "--classes cell,nucleus" in capsys.readouterr().err
    assert main([*words, "--classes", "cell,nucleus"]) == 0
    found, names = check_with_ultralytics(tmp_path / "set" / "data.yaml")
    assert found == {"train": [4] * 4, "val": [4]}
    assert names == {0: "cell", 1: "nucleus"}
    label = next((tmp_path / "set/labels/val").iterdir()).read_text(encoding="utf-8")
    drawn = np.zeros_like(values)
    for line in label.splitlines():
        kind, *points = line.split()
        polygon = np.array(points, dtype=float).reshape(-1, 2) * (64, 48) - 0.5
        mask = polygons2masks((48, 64), [np.round(polygon, 4).reshape(-1)], 1)[0]
        drawn[mask > 0] = int(kind) + 1
    # ultralytics' own drawing of the outlines gives the mask back, but for edges
    assert (drawn == values).mean() > 0.99
    assert main([*words, "--classes", "cell,nucleus", "--task", "detect"]) == 0
    label = next((tmp_path / "set/labels/val").iterdir()).read_text(encoding="utf-8")
    assert all(len(line.split()) == 5 for line in label.splitlines())


def test_outlines_of_thin_parts_have_an_area():
    mask = np.zeros((10, 20), dtype=np.uint8)
    mask[3, 5:9] = 1
    points = np.array(next(iter(outlines(mask)))).reshape(-1, 2) * (20, 10)
    assert points.tolist() == [[5, 3], [9, 3], [9, 4], [5, 4]]


def sample(path, label=0):
    return Sample(path, (64, 48), ((0.0, 0.0, 32.0, 24.0),), (label,))


def test_equal_names_in_different_folders_are_kept_apart(tmp_path):
    files = [
        picture(tmp_path / folder / name, i)
        for i, (folder, name) in enumerate(
            [("a", "1.png"), ("b", "1.png"), ("b", "1.jpg"), ("b", "2.png"), ("x/a", "1.png")]
        )
    ]
    pictures = DetectionSet([sample(f, i % 2) for i, f in enumerate(files)], ["r", "w"])
    data = write_dataset({"train": pictures, "val": pictures}, tmp_path / "set")
    images = sorted((tmp_path / "set/images/train").iterdir())
    assert len(images) == len({p.stem for p in images}) == 5
    names = unique_names(f.resolve() for f in files)
    for i, file in enumerate(files):
        name = names[file.resolve()]
        written = tmp_path / "set/images/train" / f"{name}{file.suffix}"
        assert written.read_bytes() == file.read_bytes()
        label = (tmp_path / "set/labels/train" / f"{name}.txt").read_text(encoding="utf-8")
        assert label.startswith(f"{i % 2} ")
    # names do not depend on the order
    assert unique_names(f.resolve() for f in reversed(files)) == names
    assert yaml.safe_load(data.read_text(encoding="utf-8"))["names"] == {0: "r", 1: "w"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("more", [(), ("c/b-1.png", "d/a-b-1.png")])
def test_folders_that_differ_in_capitals_or_hyphens_alone(more):
    files = [*map(Path, ("a/1.png", "A/1.png", "x/a/b/1.png", "x/a-b/1.png", *more))]
    names = [name.casefold() for name in unique_names(files).values()]
    assert len(set(names)) == len(files)


@pytest.mark.parametrize("link", [False, True])
def test_a_second_set_of_the_same_names_has_its_own_pictures(link, tmp_path):
    for i in range(2):
        file = picture(tmp_path / f"source {i}" / "1.png", i)
        pictures = DetectionSet([sample(file)], ["r"])
        write_dataset({"train": pictures, "val": pictures}, tmp_path / "set", link=link)
        written = tmp_path / "set/images/train/1.png"
        assert written.read_bytes() == file.read_bytes()
        assert not written.is_symlink()
        assert written.samefile(file) == link


def test_a_set_in_the_folder_of_its_source_is_no_part_of_it(tmp_path):
    root = voc(tmp_path / "voc", lists=False)
    words = ["yolo", "data", str(root), "--out", str(root / "yolo"), "--strict"]
    assert main(words) == 0
    before = contents(root / "yolo")
    assert main(words) == 0
    assert contents(root / "yolo") == before


def test_a_description_in_another_encoding_is_somebodys(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/data.yaml").write_bytes("names: [a]".encode("utf-16"))
    words = ["yolo", "data", str(voc(tmp_path / "voc")), "--out", str(tmp_path / "mine")]
    assert main(words) == 2
    assert "a new folder, an empty one" in capsys.readouterr().err


def test_other_peoples_folders_are_not_replaced(tmp_path, capsys):
    root = voc(tmp_path / "voc")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years", encoding="utf-8")
    assert main(["yolo", "data", str(root), "--out", str(tmp_path / "mine")]) == 2
    assert "a new folder, an empty one" in capsys.readouterr().err
    assert contents(tmp_path / "mine") == {"thesis.txt": b"years"}
    below = tmp_path / "mine" / "thesis.txt" / "set"
    assert main(["yolo", "data", str(root), "--out", str(below)]) == 2
    assert "out: expected a folder that can be written" in capsys.readouterr().err
    for words, said in [
        ([str(tmp_path / "nothing")], "which does not exist"),
        ([str(tmp_path / "mine")], "a Pascal VOC folder"),
        ([str(root), "--task", "pose"], "detect or segment"),
        ([str(root), "--task", "segment"], "this folder has boxes alone"),
        ([str(root), "--val", "2"], "between 0 and 1"),
    ]:
        assert main(["yolo", "data", *words, "--out", str(tmp_path / "new")]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
