"""Trains a Unet with every operator in its encoder on street scenes (CamVid).

One JSON file per training, written at once when it is done; a training whose file is there is not
run again. Every training has the same schedule and is judged on the test pictures after its last
epoch. With ``--warm`` the trained plain network of each seed is trained on, once as it is and once
converted with ``init="preserve"``; for that, run the plain ones with ``--keep`` before.

    python benchmarks/camvid.py camvid-240x180.zip --out benchmarks/results/unet-camvid
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

import rfaconv
from rfaconv.files import strict_json, write_atomic
from rfaconv.predict import save_predictor
from rfaconv.segmentation import MaskSet, build_segmenter, read_masks
from rfaconv.segmentation.fit import fit_segmenter
from rfaconv.segmentation.networks import standardised
from rfaconv.training.seeds import seed_all

CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
    *("Pedestrian", "Bicyclist"),
)
WARM_LR = 3e-4


def unpacked(source: Path, scratch: Path, scale: int) -> list[MaskSet]:
    with zipfile.ZipFile(source) as archive:
        archive.extractall(scratch)
    root = next(p.parent for p in scratch.rglob("trainannot"))
    if scale > 1:
        for split in ("train", "test"):
            shrink(root / split, scale, nearest=False)
            shrink(root / f"{split}annot", scale, nearest=True)
    return [read_masks(root / s, root / f"{s}annot", CLASSES) for s in ("train", "test")]


def shrink(folder: Path, scale: int, nearest: bool) -> None:
    from PIL import Image

    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            size = (image.width // scale, image.height // scale)
            kind = Image.Resampling.NEAREST if nearest else Image.Resampling.BOX
            small = image.resize(size, kind)
        small.save(path.with_suffix(".png"))
        if path.suffix != ".png":
            path.unlink()


def network_of(operator: str, seed: int, sets: list[MaskSet], words) -> torch.nn.Module:
    warm = words.warm is not None
    encoder = "resnet18" if warm or operator == "conv" else f"{operator}_resnet18"
    seed_all(seed)
    network = build_segmenter(words.kind, encoder, len(CLASSES), width=words.width)
    if warm:
        network.load_state_dict(load_file(words.warm / f"conv-{seed}.safetensors"))
        if operator != "conv":
            images = torch.stack([sets[0][i][0] for i in range(0, len(sets[0]), 4)])
            # replicated borders reach a multiple of 32, as in training
            rfaconv.convert_(
                network.eval(), operator, where=rfaconv.where.basic_block_conv1, init="preserve",
                calibration=list(standardised(images).split(16)),
            )  # fmt: skip
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--operators", default="conv,rfa,rfcbam,rfca,ca,cbam,cam")
    parser.add_argument("--kind", default="unet")
    parser.add_argument("--width", type=float, default=1.0, help="factor of the channels")
    parser.add_argument("--scale", type=int, default=1, help="pictures smaller by this factor")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--warm", type=Path, default=None, help="the --keep of plain trainings")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained weights")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        sets = unpacked(words.data, Path(name), words.scale)
        for seed in range(words.seeds):
            for operator in words.operators.split(","):
                target = words.out / f"{operator}-{seed}.json"
                if target.exists():
                    continue
                network = network_of(operator, seed, sets, words)
                lr = WARM_LR if words.warm else 1e-3
                figures = fit_segmenter(network, *sets, epochs=words.epochs, seed=seed, lr=lr)
                encoder = "resnet18" if operator == "conv" else f"{operator}_resnet18"
                result = {
                    "network": f"{words.kind} {encoder}",
                    "operator": operator,
                    "seed": seed,
                    "epochs": words.epochs,
                    "start": "preserve" if words.warm else "scratch",
                    "lr": lr,
                    "width": words.width,
                    "height": sets[0][0][0].shape[1],
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
                        kind=words.kind, backbone=encoder, names=CLASSES, width=words.width,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
