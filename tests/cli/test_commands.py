from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rfaconv.cli import main as main_module
from rfaconv.cli._options import parse_names, parse_seeds
from rfaconv.cli._progress import duration
from rfaconv.cli.main import COMMANDS, main
from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.lab.study import default_out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert "Exit codes" in text
    assert "..." not in text.split("Commands:")[1]  # what each does, in a line that is not cut


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rfaconv 0.")


def test_commands_are_light_until_they_run() -> None:
    code = (
        "import sys; from rfaconv.cli.main import build; build(); "
        "heavy = {'lightning', 'timm', 'torchvision', 'matplotlib', 'sklearn', 'rich.progress'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compre"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "compare" in error


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "rfa_*", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert names == ["rfa_resnet18", "rfa_resnet34", "rfa_resnet50"]
    assert main(["models", "rfa_resnet19"]) == 2
    assert "did you mean rfa_resnet18" in capsys.readouterr().err


def test_summary_counts_as_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "rfa_resnet18", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"] == 11_850_408
    # C = 64 64 64 128 128 256 256 512 in the replaced layers, 108 parameters per channel
    assert report["attention_parameters"] == 108 * (64 * 3 + 128 * 2 + 256 * 2 + 512)
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    assert main(["summary", "resnet18"]) == 0
    assert "11,689,512" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rfa_resnet19"], "did you mean rfa_resnet18"),
        (["resnet18", "--image-size", "0"], "image_size: expected 1 or more"),
        (["vit_tiny_patch16_224", "--image-size", "100"], "image_size: expected a size that"),
    ],
)
def test_bad_summaries(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"]
    assert report["devices"][0]["device"] == "cpu"
    states = {row["name"]: row["reason"] for row in report["backends"]}
    assert states["reference"] is None
    assert set(states) == {"triton", "cpu", "reference"}
    assert main(["doctor"]) == 0
    assert "Backends" in capsys.readouterr().out


def test_doctor_fails_if_a_backend_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"backend": "cpu", "case": "rfa", "passed": False, "detail": "error 3 above 1"}
    monkeypatch.setattr("rfaconv.cli._doctor_report.selftest_rows", lambda: [row])
    assert main(["doctor", "--selftest"]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RFAConvError("this\nis wrong"), 2, "error: this is wrong\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command goes on"),
        (OSError(28, "No space left on device", "/x"), 1, "error: No space left on device (/x)"),
        (ModuleNotFoundError("no", name="lightning.pytorch"), 2, "error: this command needs light"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    text: str,
) -> None:
    def application(**_: object) -> None:
        raise error

    monkeypatch.setattr(main_module, "build", lambda: application)
    assert main([]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(text)
    assert printed.count("\n") == 1


def test_ctrl_c_is_one_line_through_the_whole_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rfaconv.lab.recipes.recipe_names", interrupted)
    assert main(["train", "--list"]) == 130
    assert capsys.readouterr().err.strip() == f"error: {main_module.STOPPED}"


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def application(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "build", lambda: application)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_options() -> None:
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("5,2") == (5, 2)
    assert parse_seeds("7,") == (7,)
    for bad in ("", ",", "0", "-1", "1,-2", "x", "99999", "3,3"):
        with pytest.raises(InvalidArgument, match=r"^seeds: expected"):
            parse_seeds(bad)
    assert parse_names(" a, b ,", "operators") == ("a", "b")
    assert str(default_out(["../my data/"])) == "rfaconv-compare-my-data"
    assert str(default_out(["my data.v2/"])) == "rfaconv-compare-my-data.v2"
    assert str(default_out(["a/study.v2.yaml"])) == "rfaconv-compare-study.v2"
    assert [duration(s) for s in (59.4, 60, 3600)] == ["59 s", "1 min 0 s", "1 h 0 min"]
