"""The page of evidence from made-up results: verdicts by rule, both languages, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks" / "results").is_dir(), reason="results are part of the repository"
)
TABLES = {"top1": 0.02, "top1_equal_time": -0.03, "ece": 0.04, "corrupted_top1": 0.0}


def made_up() -> dict[str, Any]:
    """rfa is 2 points better, 3 worse at equal time, 4 worse calibrated, and as robust."""

    def difference(table: str, operator: str, base: str, mean: float) -> dict[str, Any]:
        return {"table": table, "score": table, "operator": operator, "baseline": base,
                "seeds": [0, 1, 2], "mean": mean, "half_width": 0.005, "verdict": "",
                "comparisons": 2, "corrected_half_width": 0.01}  # fmt: skip

    figures = {"strengths": [1, 2], "top1": [0.5, 0.4], "ece": [0.1, 0.2]}
    names = ("noise", "blur", "contrast", "bright", "dark", "jpeg")
    kinds = {name: {"meaning": f"{name}, factor", **figures} for name in names}
    corrupted = {"clean": {"top1": 0.9, "ece": 0.03}, "mean": {}, "kinds": kinds}
    curve = [{"train_loss": 1.0, "val_loss": 1.0, "top1": 0.3 + 0.02 * i} for i in range(30)]
    scores = ("top1", "ece", "corrupted_top1", "corrupted_ece", *(f"top1_{k}" for k in kinds))
    operators: dict[str, Any] = {}
    for name in ("conv", "rfa"):
        every = {key: {"mean": 0.5, "std": 0.01} for key in scores}
        operators[name] = {"seeds": [0, 1, 2], "scores": every, "last_tenth": 0.001}
    operators["rfa"]["gates"] = {
        "entropy": 0.9876, "between_windows": 0.123, "between_images": 0.045,
    }  # fmt: skip
    operators["rfa"]["scores"] |= {
        f"gates_{k}": {"mean": v, "std": 0} for k, v in
        {"trained": 0.9, "constant": 0.8, "uniform": 0.3}.items()
    }  # fmt: skip
    return {
        "recipe": "eurosat",
        "settings": {"recipes.eurosat.epochs": 30, "baseline": "conv"},
        "missing": ["rfa, seed 2: not trained yet"],
        "operators": operators,
        "differences": [
            *(difference(table, "rfa", "conv", mean) for table, mean in TABLES.items()),
            difference("attention", "rfa", "features", 0.001),
            difference("constant", "rfa", "rfa", -0.1),
        ],
        "runs": [{"operator": n, "seed": 0, "curve": curve, "corrupted": corrupted}
                 for n in operators],
        "cost": {n: {"measured": {"step_ms": s}} for n, s in (("conv", 10.0), ("rfa", 15.0))},
    }  # fmt: skip


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from docs.figures import curves, evidence

    value = made_up()
    for module in (evidence, curves):
        monkeypatch.setattr(module, "grid", lambda: value)
    return value


@pytest.mark.parametrize(
    ("mean", "corrected", "less", "expected"),
    [
        (2.0, 1.9, False, "gains"),
        (2.0, 2.1, False, "none"),
        (-2.0, 1.9, False, "loses"),
        (-2.0, 1.9, True, "gains"),
        (2.0, 1.9, True, "loses"),
        (9.0, None, False, "one seed"),
    ],
)
def test_verdicts(mean: float, corrected: float | None, less: bool, expected: str) -> None:
    from docs.figures.evidence import verdict
    from docs.figures.results import Difference

    assert verdict(Difference(mean, corrected, 3, corrected), less) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["none", "gains", "loses"], "try"),
        (["none", "loses"], "leave"),
        (["none", "one seed"], "measure"),
        ([], "measure"),
    ],
)
def test_advice(verdicts: list[str], expected: str) -> None:
    from docs.figures.evidence import advice

    assert advice(verdicts) == expected


def test_the_decision_follows_from_the_numbers(committed: dict[str, Any]) -> None:
    from docs.figures.evidence import decision

    rows = {line.split(" | ")[0].strip("| "): line for line in decision("en", numbers=True)}
    assert "| **gains** +2.00 ± 1.00 |" in rows["classify EuroSAT, 30 epochs"]
    same = rows["classify EuroSAT, 30 epochs, in the time of the convolution"]
    assert "**loses** −3.00 ± 1.00" in same and same.endswith("| leave it |")
    # of an error more is worse
    error = rows["classify EuroSAT, 30 epochs, calibration error"]
    assert "**loses** +4.00 ± 1.00" in error
    hurt = rows["classify EuroSAT, 30 epochs, corrupted images"]
    assert "no difference shown +0.00 ± 1.00" in hurt and hurt.endswith("| measure first |")
    short = "\n".join(decision("zh", numbers=False))
    assert "分类 EuroSAT，30 轮，受损图像 | – |" in short and "校准误差" not in short
    # the long schedule stands for the set where it has all operators
    assert "EuroSAT，6 轮" in short
    one = next(
        d for d in committed["differences"] if (d["table"], d["operator"]) == ("top1", "rfa")
    )
    committed["differences"] += [{**one, "operator": name} for name in ("rfcbam", "rfca")]
    assert "EuroSAT，6 轮" not in "\n".join(decision("zh", numbers=False))
    for one in committed["differences"]:
        one["corrected_half_width"] = 0.5
    assert "**gains** +2.00" not in "\n".join(decision("en", numbers=True))


def test_sections_of_both_languages(committed: dict[str, Any]) -> None:
    from docs.figures.evidence import missing, with_blocks

    for page in ("docs/how/evidence.md", "docs/how/evidence.zh.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        made = with_blocks(text)
        assert with_blocks(made) == made
        for figure in ("98.76%", "12.3%", "4.5%", "+2.00 ± 0.50", "−10.00 ± 0.50", "80.00"):
            assert figure in made, (page, figure)
        assert "rfa, seed 2: not trained yet" in made and "curves-light.svg" in made
        assert "jpeg, factor 1, 2" in made
    assert missing() == ["eurosat-converged-evidence: rfa, seed 2: not trained yet"]


def test_the_front_page_stays_one_screen(committed: dict[str, Any]) -> None:
    from docs.figures.evidence import with_blocks
    from test_site import words

    assert words(with_blocks((ROOT / "README.md").read_text(encoding="utf-8"))) < 600


def test_without_results_pages_keep_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from docs.figures import evidence

    monkeypatch.setattr(evidence, "grid", lambda: None)
    tables = {"evidence_accuracy": "as it was", "costs": "1"}
    text = "".join(f"<!-- table {name} -->\n{t}\n<!-- end -->\n" for name, t in tables.items())
    assert evidence.with_blocks(text) == text
    assert "evidence.json" in evidence.missing()[0]
    assert "30 epochs" not in "\n".join(evidence.decision("en", numbers=True))


def test_curves_are_drawn_as_far_as_trainings_are(committed: dict[str, Any]) -> None:
    from docs.figures.curves import curves

    drawn = curves("light", "en").svg()
    assert drawn.count("<path") >= 4 and "features" not in drawn
    assert json.dumps(drawn) == json.dumps(curves("light", "en").svg())
    # at equal time the slower one ends at the right edge and the convolution at 2/3 of it
    ends = [line.split('"')[1].split("L")[-1].split()[0] for line in drawn.splitlines()
            if line.startswith('<path d="M') and line.count("L") > 10]  # fmt: skip
    assert [round(float(end)) for end in ends] == [368, 368, 408 + round(320 / 1.5), 728]
