from __future__ import annotations

import json
from pathlib import Path

import pytest

from rfaconv.compare.progress import Clock
from rfaconv.compare.store import Store
from rfaconv.errors import InvalidArgument, RFAConvError


def test_same_run_is_taken_up_and_another_refused(tmp_path: Path) -> None:
    root = tmp_path / "new" / "run"
    Store(root).open({"epochs": 3, "seeds": [0, 1]})
    Store(root).open({"epochs": 3, "seeds": [0, 1]})
    before = (root / "run.json").read_bytes()
    with pytest.raises(InvalidArgument) as info:
        Store(root).open({"epochs": 4, "seeds": [0, 1]})
    assert "epochs=4" in str(info.value)
    assert "with another run (epochs=3)" in str(info.value)
    assert (root / "run.json").read_bytes() == before


def test_folders_that_are_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="out: expected an empty folder"):
        Store(tmp_path).open({})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InvalidArgument, match=r"out: expected a folder, got .* \(a file\)"):
        Store(tmp_path / "thesis.tex").open({})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1'])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"out: expected a readable run\.json"):
        Store(tmp_path).open({})


def test_other_format(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99, "settings": {}}), encoding="utf-8")
    with pytest.raises(InvalidArgument, match="comparison in format 1, got format 99"):
        Store(tmp_path).open({})


def test_two_at_a_time_are_one_too_many(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open({})
    busy = pytest.raises(RFAConvError, match="another rfaconv compare is at work")
    with store.lock(), busy, Store(tmp_path).lock():
        pass
    with store.lock():
        pass


def test_damaged_pair(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open({})
    assert store.pair("rfa", 0) is None
    store.finish_pair("rfa", 0, {"a": 1})
    assert store.pair("rfa", 0) == {"a": 1}
    (tmp_path / "pairs" / "rfa-seed0.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"readable JSON in .*rfa-seed0.json"):
        store.pair("rfa", 0)


def test_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    steps = {"conv": 1.0, "rfa": 3.0}
    clock = Clock(steps, (("conv", 0), ("rfa", 0)), epochs=10, steps=1, jobs=2)
    assert clock.remaining() == 20  # 40 s of work for two processes
    clock.advance("conv", 0, 0)
    now[0] += 6
    clock.advance("rfa", 0, 0)
    # 3 s of predicted work took 6 s; 36 are left
    assert clock.remaining() == pytest.approx(72)
    clock.advance("conv", 0, 9)
    clock.advance("rfa", 0, 9)
    assert clock.remaining() == 0
