"""Networks that are published with the project, and whether their files lie here, whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
HERE, ABSENT, DAMAGED = "here", "absent", "damaged"


@dataclass(frozen=True)
class Published:
    """One network and the training that made it.

    Attributes:
        name: of its folder.
        data: of the images, with their number.
        command: the training, as it is typed.
        seed: of the training.
        commit: of this project, with which it was trained.
        top1: fraction of the test images that it gets right, after the last epoch.
        test_images: how many there are.
        parameters: of the network.
        bytes: of ``model.safetensors``.
        sha256: of ``model.safetensors``.
    """

    name: str
    data: str
    command: str
    seed: int
    commit: str
    top1: float
    test_images: int
    parameters: int
    bytes: int
    sha256: str

    def state(self, place: Path) -> str:
        """``here``, ``absent``, or ``damaged`` where the SHA-256 of the file differs.

        Args:
            place: the folder with the networks' folders.

        Raises:
            OSError: the file is there and cannot be read.
        """
        path = place / self.name / WEIGHTS
        if not path.is_file():
            return ABSENT
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return HERE if found == self.sha256 else DAMAGED


@cache
def published() -> tuple[Published, ...]:
    """The published networks, by name.

    Example:
        >>> [one.name for one in published() if one.name.startswith("eurosat")]
        ['eurosat-conv', 'eurosat-rfa']
    """
    text = (resources.files("rfaconv.models") / "published.json").read_text(encoding="utf-8")
    entries: list[Mapping[str, Any]] = json.loads(text)
    return tuple(sorted((Published(**entry) for entry in entries), key=lambda one: one.name))


def default_place() -> Path:
    """``weights`` of the checkout that the package is imported from; else of the current folder."""
    checkout = Path(__file__).resolve().parents[3] / "weights"
    return checkout if checkout.is_dir() else Path("weights")
