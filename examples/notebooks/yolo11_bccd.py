# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # YOLO11 on blood cells
#
# BCCD is 364 pictures of blood cells in Pascal VOC form (https://github.com/Shenggan/BCCD_Dataset). Put its folder `BCCD`
# beside this notebook. ultralytics is licensed under **AGPL-3.0**.
#
# One epoch of small pictures shows that everything works. **For results** take `EPOCHS = 100`, `SIZE = 640` and all
# pictures: a training of 15 epochs is far from converged, and RFAConv was behind the convolution there.

# %%
import subprocess
import sys
from pathlib import Path

import rfaconv

EPOCHS, SIZE = 1, 96
assert Path("BCCD/Annotations").is_dir(), "put the folder BCCD beside this notebook"


def command(*words: str) -> None:
    """Runs a command of rfaconv."""
    subprocess.run([sys.executable, "-m", "rfaconv", *words], check=True)


command("yolo", "data", "BCCD", "--out", "cells")

# %% [markdown]
# `nbs` equal to `batch`: every batch is a step of the optimizer.

# %%
rfaconv.register("ultralytics")
from ultralytics import YOLO

settings = dict(
    data="cells/data.yaml", epochs=EPOCHS, imgsz=SIZE, batch=8, nbs=8, plots=False,
    device="cpu", workers=0, project=str(Path("runs").resolve()), exist_ok=True, verbose=False,
)  # fmt: skip
scores = {}
for model in ("yolo11n.yaml", "yolo11n-rfa.yaml"):
    found = YOLO(model).train(name=Path(model).stem, **settings)
    scores[model] = found.box.map
for model, score in scores.items():
    print(f"{model:20s} mAP {score:.4f} after {EPOCHS} epoch")

# %% [markdown]
# Which layers became operators, and a prediction with the trained network:

# %%
yolo = YOLO("runs/yolo11n-rfa/weights/best.pt")
print([i for i, layer in enumerate(yolo.model.model) if "RFA" in type(layer).__name__])
picture = next(Path("BCCD/JPEGImages").glob("*.jpg"))
result = yolo.predict(picture, imgsz=SIZE, conf=0.01, verbose=False)[0]
print(len(result.boxes), "boxes")
