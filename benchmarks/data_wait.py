"""How much of a training step waits for JPEGs that are decoded meanwhile: ResNet-18 on a folder.

    python benchmarks/data_wait.py

Makes pictures of ImageNet's usual size (500 x 375) and trains the ImageNet recipe on them for an
epoch, with and without a process that decodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from rfaconv.bench.environment import environment
from rfaconv.files import strict_json, write_atomic

PLACE = Path(__file__).resolve().parent / "results" / "data-wait.json"
IMAGES, SIZE, BATCH = 128, (375, 500), 16
WORDS = ["epochs=1", f"batch_size={BATCH}", "threads=1",
         "learning_rate={name: constant, milestones: []}"]  # fmt: skip


def main() -> None:
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder, "pictures"))
        for workers in (0, 1):
            measured = run(Path(folder, "pictures"), Path(folder, f"run{workers}"), workers)
            cases[f"{workers} workers"] = measured
            print(workers, measured, flush=True)
    value = {
        "command": "python benchmarks/data_wait.py",
        "recipe": ["imagenet-resnet18", *WORDS],
        "images": IMAGES,
        "picture": list(SIZE),
        "cases": cases,
        "environment": environment(torch.device("cpu")),
    }
    write_atomic(PLACE, strict_json(value))


def pictures(folder: Path) -> None:
    """Smooth random pictures, whose JPEGs have about the bytes of photographs."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", IMAGES), ("val", 4)):
        for index in range(count):
            place = folder / part / "ab"[index % 2]
            place.mkdir(parents=True, exist_ok=True)
            coarse = torch.rand(1, 3, SIZE[0] // 3, SIZE[1] // 3, generator=generator)
            fine = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")[0]
            pixels = (fine * 255).byte().permute(1, 2, 0).contiguous().numpy()
            Image.fromarray(pixels).save(place / f"{index}.jpg", quality=90)


def run(images: Path, out: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "rfaconv.cli.main", "train", "imagenet-resnet18", *WORDS,
               f"data.name=folder:{images}", f"data.workers={workers}",
               "--accelerator", "cpu", "--out", str(out)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    measured = json.loads((out / "result.json").read_text(encoding="utf-8"))["measured"]
    return {key: measured[key] for key in ("data_wait", "images_per_second")}


if __name__ == "__main__":
    main()
