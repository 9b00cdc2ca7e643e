"""Checkpoints that are whole or absent: a folder written under another name, then renamed.

checkpoints/epoch-0003/weights.safetensors   the network (its moving average if there is one)
checkpoints/epoch-0003/trainer.ckpt          everything else that going on needs
checkpoints/epoch-0003/manifest.json         sizes and SHA-256 of both, the score
checkpoints/epoch-0003-batch-000120/         the same, 120 batches into the fourth epoch
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rfaconv.errors import InvalidArgument, RFAConvError
from rfaconv.files import strict_json, sync, write_atomic

FOLDER, WEIGHTS, STATE, MANIFEST = (
    "checkpoints",
    "weights.safetensors",
    "trainer.ckpt",
    "manifest.json",
)


class SavingFailed(RFAConvError):
    """A checkpoint could not be written; earlier ones are as they were."""


class Saves(Callback):
    """Saves at the end of every epoch and keeps the newest and the best.

    Args:
        run: the run's folder.
        keep: newest checkpoints to keep.
    """

    def __init__(self, run: Path, keep: int) -> None:
        self.folder = run / FOLDER
        self.keep = keep

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves; all processes take part, the first one writes."""
        done = trainer.current_epoch + 1
        self._save(trainer, pl_module, f"epoch-{done:04d}", f"epoch {done}")

    def save_within(self, trainer: Trainer, pl_module: Any, batches: int) -> None:
        """Saves after ``batches`` of an epoch, with all that its rest depends on."""
        done = trainer.current_epoch
        pl_module.batches_done = batches
        name = f"epoch-{done:04d}-batch-{batches:06d}"
        self._save(trainer, pl_module, name, f"epoch {done + 1}, batch {batches}")

    def _save(self, trainer: Trainer, module: LightningModule, name: str, what: str) -> None:
        temporary = self.folder / ".writing"
        try:
            if trainer.is_global_zero:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            trainer.strategy.barrier()
            trainer.save_checkpoint(temporary / STATE, weights_only=False)
            if trainer.is_global_zero:
                self._finish(temporary, name, module)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk from its writer as a RuntimeError; any other one says that
            # another process is gone
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):
                raise
            if trainer.is_global_zero:
                shutil.rmtree(temporary, ignore_errors=True)
            raise SavingFailed(
                f"checkpoint of {what} could not be written to {self.folder} "
                f"({getattr(error, 'strerror', None) or str(error).splitlines()[0]}); "
                "earlier checkpoints are intact, the same command goes on from the last one"
            ) from error

    def _finish(self, temporary: Path, name: str, module: Any) -> None:
        from safetensors.torch import save

        network = module.evaluated
        tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        write_atomic(temporary / WEIGHTS, save(tensors))
        manifest = {
            "epoch": len(module.history),
            # of a network in the middle of an epoch there is none
            "score": None if module.batches_done else module.history[-1].score,
            "score_name": module.score_name,
            "files": {name: _describe(temporary / name) for name in (WEIGHTS, STATE)},
        }
        write_atomic(temporary / MANIFEST, strict_json(manifest))
        sync(temporary / STATE)
        final = self.folder / name
        shutil.rmtree(final, ignore_errors=True)
        temporary.replace(final)
        sync(self.folder)
        self._prune()

    def _prune(self) -> None:
        entries = _entries(self.folder)
        best = _best(entries)
        for path in entries[self.keep :]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)


def last_good(run: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run, and what is wrong with any newer one.

    Raises:
        InvalidArgument: there are checkpoints and every one is damaged.
    """
    damaged: list[str] = []
    entries = _entries(run / FOLDER)
    for path in entries:
        reason = check(path)
        if reason is None:
            return path, damaged
        damaged.append(f"{path}: {reason}")
    if entries:
        raise InvalidArgument("resume", "a whole checkpoint", "; ".join(damaged))
    return None, damaged


def best_good(run: Path) -> Path:
    """The checkpoint with the highest score on the validation images, the earliest of equals.

    Raises:
        InvalidArgument: none is whole.
    """
    whole = [path for path in _entries(run / FOLDER) if check(path) is None]
    best = _best(whole)
    if best is None:
        raise InvalidArgument("run", "a run folder with a whole checkpoint", str(run))
    return best


def check(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    manifest = _manifest(path)
    if isinstance(manifest, str):
        return manifest
    for name, expected in manifest["files"].items():
        try:
            found = _describe(path / name)
        except OSError:
            return f"no readable {name}"
        if found["bytes"] != expected["bytes"]:
            return f"{name} has {found['bytes']} bytes, not {expected['bytes']}"
        if found != expected:
            return f"{name} is damaged (SHA-256 differs)"
    return None


def _manifest(path: Path) -> dict[str, Any] | str:
    """The manifest of a checkpoint, or what is wrong with it."""
    try:
        value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    # a few thousand brackets are enough for the parser to give up
    except (OSError, ValueError, RecursionError):
        return f"no readable {MANIFEST}"
    files = value.get("files") if isinstance(value, dict) else None
    described = {"bytes", "sha256"}
    if not isinstance(files, dict) or not {WEIGHTS, STATE} <= files.keys():
        return f"{MANIFEST} does not name {WEIGHTS} and {STATE}"
    if not all(isinstance(entry, dict) and described <= entry.keys() for entry in files.values()):
        return f"{MANIFEST} does not say what its files are"
    # before there were other tasks the score had the name of a classifier's
    value.setdefault("score", value.get("val_top1"))
    if not isinstance(value["score"], float | int | None):
        return f"{MANIFEST} has a score that is no number"
    manifest: dict[str, Any] = value
    return manifest


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"), reverse=True)


def _best(entries: list[Path]) -> Path | None:
    best, highest = None, -math.inf
    for path in sorted(entries):
        manifest = _manifest(path)
        score = None if isinstance(manifest, str) else manifest["score"]
        if score is not None and score > highest:
            best, highest = path, score
    return best


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
