"""``rfaconv yolo WORDS`` does what ``yolo WORDS`` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfaconv.cli.main import main

FAILS = 1


def as_yolo(words, capfd):
    """Exit code and output of ultralytics' own command."""
    from ultralytics.cfg import entrypoint
    from ultralytics.utils import ARGV

    before = list(ARGV)
    ARGV[:] = ["yolo", *words]
    code = 0
    try:
        entrypoint()
    except SystemExit as error:
        code = error.code or 0
    except Exception:  # an interpreter would print it and end with 1; the wrapper must as well
        code = FAILS
    finally:
        ARGV[:] = before
    return code, capfd.readouterr().out


SPECIAL = [
    ["version"], ["help"], ["cfg"], ["settings"], ["-v"], ["--version"], ["-h"], ["--help"],
    ["copy-cfg"], ["solutions", "help"], ["logout"], ["checks"], [], ["settings", "nonsense=1"],
    ["expotr"], ["detect", "train", "model"], ["export", "model=absent.pt", "format=onnx"],
    ["val", "model=absent model.pt", "data=nowhere.yaml"], ["detect", "trian", "imgsz=32"],
    ["train", "epohcs=3"],
]  # fmt: skip


@pytest.mark.parametrize("words", SPECIAL, ids=" ".join)
def test_special_commands_and_errors(words, tmp_path, monkeypatch, capfd):
    home = tmp_path / "my wörk"
    home.mkdir()
    monkeypatch.chdir(home)
    expected = as_yolo(words, capfd)
    before = {p.name: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    for file in home.rglob("*"):
        file.unlink()
    assert (main(["yolo", *words]), capfd.readouterr().out) == expected
    after = {p.name: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    assert after == before


def test_login_ends_as_ultralytics_says(monkeypatch):
    """It asks a server: what it is given and how it ends is all that is looked at."""
    import ultralytics.cfg

    seen = []

    def refuse(words):
        seen.append(list(words))
        raise SystemExit("Invalid API key")

    monkeypatch.setattr(ultralytics.cfg, "handle_yolo_login", refuse)
    for run in (lambda: ultralytics.cfg.entrypoint(), lambda: main(["yolo", "login", "a key"])):
        monkeypatch.setattr(ultralytics.cfg, "ARGV", ["yolo", "login", "a key"])
        with pytest.raises(SystemExit, match=r"^Invalid API key$"):
            run()
    assert seen[0] == seen[1]
    assert "a key" in seen[0]


def test_words_arrive_one_a_piece(monkeypatch):
    """Paths with spaces and unicode, key=value with spaces around the sign: as typed."""
    import ultralytics.cfg

    seen = []
    monkeypatch.setattr(
        ultralytics.cfg, "entrypoint", lambda: seen.append(list(ultralytics.cfg.ARGV))
    )
    words = [
        "export",
        "model=/tmp/my runs/größe 测试.pt",
        "format=onnx",
        "imgsz",
        "=",
        "64",
        "-x",
        "--y=1",
    ]
    before = list(sys.argv)
    assert main(["yolo", *words]) == 0
    assert seen == [["yolo", *words]]
    assert sys.argv == before


def test_own_verbs_have_their_help(capsys):
    for verb in ("data", "convert", "import", "yaml"):
        assert main(["yolo", verb, "--help"]) == 0
        assert f"rfaconv yolo {verb}" in capsys.readouterr().out
    assert main(["yolo", "convert", "a.pt"]) == 2
    assert "operator" in capsys.readouterr().err
    assert main(["yolo", "help"]) == 0
    assert "convert" in capsys.readouterr().err


VERBS = [
    "detect train model=yolov8n.yaml {data} epochs=1 imgsz=32 batch=2 nbs=2 plots=False workers=0 "
    "name=t",
    "detect val {model} {data} imgsz=32 batch=2 plots=False workers=0 name=v",
    "predict {model} {source} imgsz=32 save=True name=p",
    "track {model} {source} imgsz=32 save=True name=k",
    "export {model} format=torchscript imgsz=32",
    "benchmark {model} {data} imgsz=32 format=torchscript",
]


@pytest.mark.nightly
def test_all_verbs_leave_the_same_files(tmp_path, little_set):
    """Both commands, each in a process of its own, in folders with spaces."""
    # ultralytics writes elsewhere where it sees pytest
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    files = {}
    for who in ("yolo", "rfaconv"):
        home = tmp_path / f"wörk by {who}"
        home.mkdir()
        codes = []
        for line in VERBS:
            model = next(home.rglob("last.pt"), None)
            places = {
                "{data}": f"data={little_set}",
                "{source}": f"source={little_set.parent / 'images/val'}",
                "{model}": f"model={model}",
            }
            words = [places.get(word, word) for word in line.split()]
            program = "from ultralytics.cfg import entrypoint; entrypoint()"
            if who == "rfaconv":
                program = "import sys; from rfaconv.cli.main import main; sys.exit(main())"
                words = ["yolo", *words]
            done = subprocess.run(
                [sys.executable, "-c", program, *words], cwd=home, capture_output=True,
                encoding="utf-8", env=environment,
            )  # fmt: skip
            codes.append(done.returncode)
        files[who] = codes, sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())
    assert files["yolo"] == files["rfaconv"]
    assert files["yolo"][0] == [0] * len(VERBS)


@pytest.fixture
def little_set(tmp_path) -> Path:
    """Four pictures with a box each, in a folder with a space."""
    import numpy as np
    from PIL import Image

    root = tmp_path / "my cells"
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(2):
            picture = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / "images" / split / f"cell {i}.png")
            label = root / "labels" / split / f"cell {i}.txt"
            label.write_text("0 0.5 0.5 0.4 0.4\n", encoding="utf-8")
    text = "train: images/train\nval: images/val\nnames: {0: cell}\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")
    return root / "data.yaml"
