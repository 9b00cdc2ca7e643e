"""Model YAMLs that people edit."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rfaconv.cli.main import main
from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics import model_config, write_model_yaml


@pytest.mark.parametrize("at", ["down", "blocks", "head", "all"])
@pytest.mark.parametrize(
    "network", ["yolov5n", "yolov8n", "yolo11n-seg", "yolo26n-pose", "yolov10n", "yolov7-tiny"]
)
def test_only_the_rows_change(network, at, tmp_path):
    import ultralytics

    if (network, at) == ("yolov7-tiny", "blocks"):
        with pytest.raises(InvalidArgument, match="C3, C2f, C3k2"):
            write_model_yaml(network, "rfa", tmp_path, at=at)
        return
    path = write_model_yaml(network, "rfa", tmp_path, at=at)
    assert path.name == f"{network}-rfa{'' if at == 'down' else '-' + at}.yaml"
    folder = Path(ultralytics.__file__).parent / "cfg/models"
    shipped = network.replace("v5n", "v5").replace("v8n", "v8").replace("11n", "11")
    shipped = shipped.replace("26n", "26")
    original = [*folder.rglob(f"{shipped}.yaml")] or [
        Path(write_model_yaml.__code__.co_filename).with_name("yolov7-tiny.yaml")
    ]
    before = original[0].read_text(encoding="utf-8").splitlines()
    after = path.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(after)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert changed
    for old, new in changed:
        # comment, numbers and arguments stay; the name of the module changes
        words = difflib.SequenceMatcher(None, old.split(), new.split())
        assert [c[0] for c in words.get_opcodes() if c[0] != "equal"] == ["replace"]
        assert old.split("#")[1:] == new.split("#")[1:]
        assert "RFA" in new
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    expected = model_config(network, "rfa", at)
    for part in ("backbone", "head"):
        assert config[part] == [list(row) for row in expected[part]]


def test_a_file_that_was_edited_is_not_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["yolo", "yaml", "yolov8n", "rfa"]
    assert main(words) == 0 and main(words) == 0
    file = Path("yolov8n-rfa.yaml")
    edited = file.read_text(encoding="utf-8").replace("nc: 80", "nc: 3")
    file.write_text(edited, encoding="utf-8")
    assert main(words) == 2
    assert "such as one that was edited" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == edited


def test_the_command_writes_a_file_that_says_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["yolo", "yaml", "yolov8n", "rfa", "--at", "blocks", "--out", "my files"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == Path("my files/yolov8n-rfa-blocks.yaml")
    text = path.read_text(encoding="utf-8")
    assert "  - [-1, 3, C2f_RFA, [128, True]]\n" in text
    assert "  - [-1, 1, Conv, [128, 3, 2]] # 1-P2/4\n" in text
    assert main(["yolo", "yaml", "yolov8n", "rfaa"]) == 2
    assert "did you mean rfa" in capsys.readouterr().err


@pytest.mark.parametrize(("network", "at"), [("yolo11n-seg", "all"), ("yolov8n-cls", "down")])
def test_plain_ultralytics_reads_the_file(network, at, tmp_path):
    """It registers the operators while the file is read, heads included."""
    path = write_model_yaml(network, "cam", tmp_path, at=at, standalone=True)
    code = (
        "import sys; from ultralytics import YOLO; assert 'rfaconv' not in sys.modules;"
        f"m = YOLO({str(path)!r}).model;"
        "from ultralytics.nn import tasks; assert 'sorted' not in vars(tasks);"
        "print(*[type(r).__name__ for r in m.model])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert "CAMConv" in names
    assert ("Segment_CAM" in names) == (at == "all")
    assert ("C3k2_CAM" in names) == (at == "all")
