"""Counts parameters and operations of YOLOv8n with every operator, beside the published numbers.

The published GFLOPs are for 640 pixels after ultralytics' ``fuse()``, which folded the norms of its
own layers and left those of the operators.

    python benchmarks/yolo_costs.py --out benchmarks/results/yolov8n-costs.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import rfaconv
from rfaconv.files import strict_json, write_atomic
from rfaconv.integrations.ultralytics import model_config

# README of the published code, COCO: 80 classes; millions of parameters, GFLOPs
PUBLISHED = {
    "conv": (3.1, 8.7),
    "cam": (3.1, 8.8),
    "cbam": (3.1, 8.8),
    "ca": (3.1, 8.8),
    "rfa": (3.2, 9.0),
    "rfca": (3.2, 9.1),
}


def counted(operator: str) -> dict[str, object]:
    from ultralytics.nn.modules import Conv
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import fuse_conv_and_bn, get_flops

    model = DetectionModel(
        model_config("yolov8n", None if operator == "conv" else operator), verbose=False
    )
    parameters = sum(p.numel() for p in model.parameters())
    for module in model.modules():
        if type(module) is Conv:
            module.conv = fuse_conv_and_bn(module.conv, module.bn)
            del module.bn
            module.forward = module.forward_fuse
    published = PUBLISHED.get(operator)
    return {
        "operator": operator,
        "parameters": parameters,
        "gflops_640": get_flops(model, 640),
        "published_millions": published and published[0],
        "published_gflops": published and published[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    rfaconv.register("ultralytics")
    operators = ("conv", "cam", "cbam", "ca", "rfa", "rfcbam", "rfca")
    rows = [counted(operator) for operator in operators]
    value = {"network": "yolov8n", "classes": 80, "torch": torch.__version__, "rows": rows}
    write_atomic(words.out, strict_json(value))


if __name__ == "__main__":
    main()
