"""Writes window.json: what a trained RFAConv2d computes in two neighbouring windows of an image.

python -m docs.figures.measure EUROSAT.zip
"""

from __future__ import annotations

import base64
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

import rfaconv.models  # noqa: F401  # registers the network
from rfaconv import effective_kernels
from rfaconv.files import write_atomic

HERE = Path(__file__).parent
NETWORK = "eurosat-rfa"
PICTURE = "test/Highway/Highway_1029.jpg"
LAYER = "layer1.0.conv1"


def measure(archive: Path) -> dict[str, Any]:
    """Everything that the figures show of the layer, as numbers."""
    weights = HERE.parents[1] / "weights" / NETWORK
    network = timm.create_model(f"local-dir:{weights}", pretrained=True).eval()
    settings = network.pretrained_cfg
    with zipfile.ZipFile(archive) as images:
        data = images.read(PICTURE)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).copy()
    mean, std = (torch.tensor(settings[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    image = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - mean) / std
    layer: Any = network.get_submodule(LAYER)
    seen: dict[str, torch.Tensor] = {}
    layer.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    with torch.no_grad():
        scores = network(image)
    x = seen["x"]
    found = effective_kernels(layer, x)
    gate = found.gate[0]
    # where gates differ from tap to tap and from window to window, and pixels do; not at the border
    patches = torch.nn.functional.unfold(x, 3, padding=1).view(*gate.shape)
    change = (gate[..., 1:] - gate[..., :-1]).abs().sum(1)
    spread = (gate.std(1)[..., :-1] * patches.std(1)[..., :-1] * change)[:, 2:-2, 2:-2]
    channel, row, column = np.unravel_index(int(spread.argmax()), spread.shape)
    row, column = int(row) + 2, int(column) + 2
    channel = int(channel)

    windows = []
    kernel = layer.feature_weight.view(-1, 9, 9)[channel].double()
    norm = layer.feature_norm
    at = slice(9 * channel, 9 * channel + 9)
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps))[at].double()
    shift = norm.bias[at].double() - scale * norm.running_mean[at].double()
    for step in (0, 1):
        patch = x[0, channel, row - 1 : row + 2, column + step - 1 : column + step + 2]
        u = patch.reshape(-1).double()
        windows.append(
            {
                "row": row,
                "column": column + step,
                "patch": u.tolist(),
                "feature": torch.relu(scale * (kernel @ u) + shift).tolist(),
                "gate": gate[channel, :, row, column + step].double().tolist(),
            }
        )
    weight = layer.weight[:, channel].flatten(1).double()
    panel = torch.tensor(windows[0]["feature"]) * torch.tensor(windows[0]["gate"])
    output = int((weight @ panel.double()).abs().argmax())
    return {
        "network": NETWORK,
        "layer": LAYER,
        "picture": PICTURE,
        "jpeg": base64.b64encode(data).decode(),
        "predicted": settings["label_names"][int(scores.argmax())],
        "size": [int(pixels.shape[0]), int(x.shape[2])],
        "channel": channel,
        "output": output,
        "attention_weight": layer.attention_weight.view(-1, 9)[channel].tolist(),
        "kernel": weight[output].tolist(),
        "sharing": found.sharing,
        "windows": windows,
    }


if __name__ == "__main__":
    with torch.no_grad():
        text = json.dumps(measure(Path(sys.argv[1])), indent=1)
    write_atomic(HERE / "window.json", text + "\n")
