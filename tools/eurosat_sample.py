#!/usr/bin/env python3
"""Cuts the bundled sample of EuroSAT out of a larger zip of ``train|val|test/CLASS/*.jpg``.

    python3 tools/eurosat_sample.py eurosat-rgb-8k.zip --train 60 --val 100

Of every class it takes the first images by the SHA-1 of their names, from ``train`` and from
``val``. The JPEG files stay as they are, byte for byte. They are stored without compression and
with a fixed date, so that the same input gives the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path

PLACE = Path(__file__).parents[1] / "src/rfaconv/lab/data/sample"
DATE = (1980, 1, 1, 0, 0, 0)


def chosen(names: list[str], part: str, count: int) -> list[str]:
    """``count`` files of each class of a part, in an order that does not favour a scene."""
    classes: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        above, _, label = folder.rpartition("/")
        if above.rpartition("/")[2] == part and file:
            classes.setdefault(label, []).append(name)
    result = []
    for label in sorted(classes):
        files = sorted(
            classes[label],
            key=lambda n: hashlib.sha1(n.rpartition("/")[2].encode()).hexdigest(),
        )
        if len(files) < count:
            raise SystemExit(f"{part}/{label} has {len(files)} images, not {count}")
        result.extend(sorted(files[:count]))
    return result


def main() -> None:
    """Writes the archive and its manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--train", type=int, required=True, help="images of a class")
    parser.add_argument("--val", type=int, required=True, help="images of a class")
    parser.add_argument("--out", type=Path, default=PLACE)
    options = parser.parse_args()
    target = options.out / "eurosat-sample.zip"
    with zipfile.ZipFile(options.source) as source:
        names = source.namelist()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made:
            for part, count in (("train", options.train), ("val", options.val)):
                for name in chosen(names, part, count):
                    label, file = name.split("/")[-2:]
                    entry = zipfile.ZipInfo(f"{part}/{label}/{file}", DATE)
                    made.writestr(entry, source.read(name))
    manifest = {
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "train_per_class": options.train,
        "val_per_class": options.val,
        "source": "EuroSAT RGB, the original JPEG files",
        "licence": "MIT, LICENSE beside this file",
        "citation": "P. Helber, B. Bischke, A. Dengel, D. Borth: EuroSAT: A Novel Dataset and Deep "
        "Learning Benchmark for Land Use and Land Cover Classification. IEEE JSTARS 12(7), 2019",
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (options.out / "manifest.json").write_text(text, encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
