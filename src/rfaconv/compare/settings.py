"""What a comparison is: everything that decides its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfaconv.data import DataSpec, ImageData
from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.training.module import Schedule
from rfaconv.training.networks import BACKENDS, COMPARABLE, SMALL

SMALL_IMAGE = 16
# few small images: a short schedule with large steps reaches 98% and spares the newcomer minutes
DEFAULT_EPOCHS, OTHER_EPOCHS = {"digits": 12}, 10
DEFAULT_LR, OTHER_LR = {"digits": 0.2}, 0.1


@dataclass(frozen=True)
class CompareSettings:
    """One comparison. Two runs with equal settings on one machine give equal numbers.

    Attributes:
        data: which images.
        model: ``small`` or a ResNet of timm.
        operators: names, the baseline first.
        seeds: one training per operator and seed.
        schedule: epochs, batch size, learning rate.
        device: where to train, as resolved.
        backend: of the operators.
        threads: of torch in one training.
    """

    data: DataSpec
    schedule: Schedule
    model: str = SMALL
    operators: tuple[str, ...] = COMPARABLE
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str = "cpu"
    backend: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        for operator in self.operators:
            if operator not in COMPARABLE:
                raise unknown_name("operators", operator, COMPARABLE)
        if not self.operators or len(set(self.operators)) < len(self.operators):
            raise InvalidArgument("operators", "each name once", ",".join(self.operators))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidArgument("seeds", "each seed once", ",".join(map(str, self.seeds)))
        if any(not 0 <= seed < 2**32 for seed in self.seeds):
            raise InvalidArgument("seeds", "numbers from 0 to 2**32 - 1", repr(self.seeds))
        if self.threads < 1:
            raise InvalidArgument("threads", "1 or more", self.threads)
        if self.backend not in BACKENDS:
            raise unknown_name("backend", self.backend, BACKENDS)

    @property
    def baseline(self) -> str:
        """What the others are compared with: the standard convolution if it takes part."""
        return "conv" if "conv" in self.operators else self.operators[0]

    @property
    def pairs(self) -> tuple[tuple[str, int], ...]:
        """All (operator, seed), seed by seed, so that an early stop leaves whole seeds."""
        return tuple((operator, seed) for seed in self.seeds for operator in self.operators)

    def as_json(self, data: ImageData) -> dict[str, Any]:
        """The settings as plain values, with the size and digest of the data that they led to."""
        return {
            "data": self.data.name,
            "data_digest": data.digest,
            "image_size": data.image_size,
            "channels": data.channels,
            "classes": len(data.classes),
            "train_images": len(data.train),
            "val_images": len(data.val),
            "limit": self.data.limit,
            "split_seed": self.data.split_seed,
            "model": self.model,
            "operators": list(self.operators),
            "baseline": self.baseline,
            "seeds": list(self.seeds),
            "epochs": self.schedule.epochs,
            "batch_size": self.schedule.batch_size,
            "lr": self.schedule.lr,
            "weight_decay": self.schedule.weight_decay,
            "momentum": self.schedule.momentum,
            "device": self.device,
            "backend": self.backend,
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Execution:
    """How a comparison is carried out; changes no number.

    Attributes:
        out: results folder.
        jobs: trainings at the same time, each in a process of its own.
        workers: processes per training that decode images.
        checkpoint_seconds: least time between two saves inside one training.
    """

    out: Path = field(default=Path("rfaconv-compare"))
    jobs: int = 1
    workers: int = 0
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InvalidArgument("jobs", "1 or more", self.jobs)
        if self.workers < 0:
            raise InvalidArgument("workers", "0 or more", self.workers)


def default_epochs(data_name: str) -> int:
    """Epochs that suit a data set when none are asked for."""
    return DEFAULT_EPOCHS.get(data_name, OTHER_EPOCHS)


def default_lr(data_name: str) -> float:
    """Highest learning rate that suits a data set when none is asked for."""
    return DEFAULT_LR.get(data_name, OTHER_LR)


def default_threads(model: str, image_size: int, cores: int) -> int:
    """Threads of one training: tiny images lose more in waiting for each other than they gain."""
    return 1 if model == SMALL and image_size <= SMALL_IMAGE else cores


def default_jobs(device_type: str, threads: int, cores: int, pairs: int) -> int:
    """Trainings at a time: as many as fill the cores, at most 8; one on a GPU."""
    return 1 if device_type != "cpu" else max(1, min(cores // threads, pairs, 8))
