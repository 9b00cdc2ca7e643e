"""Two processes over gloo: one process's curve, and a killed one ends the job with an error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testing.processes import read_until

OPTIONS = ["data.limit=128", "data.augment=none", "epochs=3", "batch_size=32",
           "model.operator=rfa", "sync_batch_norm=true", "optimizer.lr=0.05"]  # fmt: skip


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def command(out: Path, devices: int, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", *launcher, "rfaconv.cli.main", "train", "digits", *OPTIONS, *more,
            "--out", str(out), "--accelerator", "cpu", "--devices", str(devices),
            "--strategy", "ddp" if devices > 1 else "auto"]  # fmt: skip


def curve(out: Path) -> list[dict]:
    return json.loads((out / "result.json").read_text(encoding="utf-8"))["result"]["curve"]


def test_same_curve_as_one_process(tmp_path: Path) -> None:
    for devices in (1, 2):
        done = subprocess.run(
            command(tmp_path / str(devices), devices),
            capture_output=True,
            timeout=120,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
    for one, two in zip(curve(tmp_path / "1"), curve(tmp_path / "2"), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
        assert two["val_loss"] == pytest.approx(one["val_loss"], abs=1e-4)


def second_rank(parent: int) -> int:
    """The process with LOCAL_RANK=1 that the launcher, or the first rank, has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    found = [c for c in children if b"LOCAL_RANK=1" in Path(f"/proc/{c}/environ").read_bytes()]
    return int(found[0])


@pytest.mark.parametrize(
    "launcher",
    [pytest.param((), id="lightning"),
     pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.nightly)],
)  # fmt: skip
def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(
    launcher: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = command(out, 2, "epochs=16", launcher=launcher)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, encoding="utf-8")
    said = read_until(process.stderr, "epoch 2/")
    os.kill(second_rank(process.pid), signal.SIGKILL)
    error = said + process.communicate(timeout=90)[1]
    assert process.returncode != 0
    assert "error: one of 2 processes ended or stopped answering" in error
    assert "the same command goes on from the last one" in error
    done = subprocess.run(words, capture_output=True, timeout=120, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert len(curve(out)) == 16
