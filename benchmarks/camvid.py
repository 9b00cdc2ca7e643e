"""Trains a Unet with every operator in its encoder on street scenes (CamVid) from scratch.

One JSON file per training, written at once when it is done; a training whose file is there is not
run again. Every training has the same schedule and is judged on the test pictures after its last
epoch.

    python benchmarks/camvid.py camvid-240x180.zip --out benchmarks/results/unet-camvid
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch

from rfaconv.predict import save_predictor
from rfaconv.segmentation import build_segmenter, read_masks
from rfaconv.segmentation.fit import fit_segmenter
from rfaconv.training.files import strict_json, write_atomic
from rfaconv.training.seeds import seed_all

CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
    *("Pedestrian", "Bicyclist"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--operators", default="conv,rfa,rfcbam,rfca,ca,cbam,cam")
    parser.add_argument("--kind", default="unet")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained weights")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        with zipfile.ZipFile(words.data) as archive:
            archive.extractall(name)
        root = next(p.parent for p in Path(name).rglob("trainannot"))
        sets = [read_masks(root / s, root / f"{s}annot", CLASSES) for s in ("train", "test")]
        for seed in range(words.seeds):
            for operator in words.operators.split(","):
                target = words.out / f"{operator}-{seed}.json"
                if target.exists():
                    continue
                encoder = "resnet18" if operator == "conv" else f"{operator}_resnet18"
                seed_all(seed)
                network = build_segmenter(words.kind, encoder, len(CLASSES))
                figures = fit_segmenter(network, *sets, epochs=words.epochs, seed=seed)
                result = {
                    "network": f"{words.kind} {encoder}",
                    "operator": operator,
                    "seed": seed,
                    "epochs": words.epochs,
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "torch": torch.__version__,
                    **asdict(figures),
                }
                write_atomic(target, strict_json(result))
                print(operator, seed, figures.miou, figures.seconds, flush=True)
                if words.keep:
                    words.keep.mkdir(parents=True, exist_ok=True)
                    save_predictor(
                        words.keep / f"{operator}-{seed}.safetensors", network, task="segment",
                        kind=words.kind, backbone=encoder, names=CLASSES,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
