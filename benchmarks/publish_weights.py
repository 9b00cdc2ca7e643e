"""Makes weights/NAME/ from a finished run and enters it into the list of `rfaconv weights`.

    python benchmarks/publish_weights.py RUN NAME --recipe eurosat --data "EuroSAT RGB ..."

Takes the checkpoint after the last epoch: the best one would be chosen on the test images.
"""

# ruff: noqa: E501  # the text of a card, whose lines are longer

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from rfaconv.export import Source, save_pretrained
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab import load_source
from rfaconv.lab.building import read_run
from rfaconv.lab.evaluate import evaluate_run
from rfaconv.lab.recipes import Recipe, read_recipe, recipe_text
from rfaconv.lab.training.saves import last_good
from rfaconv.models.published import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "src/rfaconv/models/published.json"
LARGEST = 10_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--recipe", required=True, help="that the run was started with")
    parser.add_argument("--data", required=True, help="images and their licence, for people")
    args = parser.parse_args()
    recipe = read_run(args.run)
    result = json.loads((args.run / "result.json").read_text(encoding="utf-8"))
    command = typed(args.recipe, recipe)
    checkpoint, _ = last_good(args.run)
    assert checkpoint is not None
    assert checkpoint.name == f"epoch-{recipe.epochs:04d}"
    detail = evaluate_run(args.run, "last")
    assert detail["images"] == result["result"]["images"]
    source = load_source(checkpoint)
    folder = ROOT / "weights" / args.name
    folder.parent.mkdir(exist_ok=True)
    save_pretrained(source, folder)
    content = (folder / WEIGHTS).read_bytes()
    assert len(content) <= LARGEST
    entry = {
        "name": args.name,
        "data": args.data,
        "command": command,
        "seed": recipe.seed,
        "commit": result["environment"]["commit"],
        "top1": detail["top1"],
        "test_images": detail["images"],
        "parameters": sum(p.numel() for p in source.network.parameters()),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }
    write_atomic(folder / "README.md", card(entry, recipe, source, result, detail))
    entries = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else []
    entries = [e for e in entries if e["name"] != args.name] + [entry]
    write_atomic(LIST, strict_json(sorted(entries, key=lambda e: e["name"])))


def typed(name: str, recipe: Recipe) -> str:
    """The command line of which the recipe comes, checked."""
    shipped, own = read_recipe(name).model_dump(mode="json"), recipe.model_dump(mode="json")
    words = ["data.root=DATA"]
    for key, value in own.items():
        if isinstance(value, dict):
            words += [f"{key}.{k}={plain(v)}" for k, v in value.items()
                      if v != shipped[key][k] and (key, k) != ("data", "root")]  # fmt: skip
        elif value != shipped[key]:
            words.append(f"{key}={plain(value)}")
    data = recipe.data.model_copy(update={"root": "DATA"})
    assert read_recipe(name, words) == recipe.model_copy(update={"data": data})
    return " ".join(["rfaconv train", name, *words])


def plain(value: Any) -> str:
    return "null" if value is None else json.dumps(value).strip('"')


def card(entry: dict[str, Any], recipe: Recipe, source: Source, result: Any, detail: Any) -> str:
    data = recipe.data.model_copy(update={"root": "DATA"})
    text = recipe_text(recipe.model_copy(update={"data": data}))
    curve = "\n".join(
        f"| {r['epoch'] + 1} | {r['train_loss']:.4f} | {r['val_loss']:.4f} | {r['val_top1']:.2%} |"
        for r in result["result"]["curve"]
    )
    classes = "\n".join(
        f"| {name} | {share:.1%} |"
        for name, share in zip(detail["classes"], detail["per_class"], strict=True)
    )
    packages = result["environment"]["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "timm", "lightning"))
    return f"""---
library_name: timm
license: apache-2.0
pipeline_tag: image-classification
tags:
- image-classification
- timm
- rfaconv
---
# {entry["name"]}

The small ResNet of `rfaconv train` with `{recipe.model.operator}` in place of the first convolution of every block,
{entry["parameters"]:,} parameters, trained from scratch on {entry["data"]}.

| | |
|---|---|
| top-1 on the {entry["test_images"]:,} test images | {entry["top1"]:.2%} (top-5 {detail["top5"]:.2%}, ECE {detail["ece"]:.4f}) |
| made by | `{entry["command"]}` |
| seed | {entry["seed"]}, one training; the weights after the last epoch, nothing chosen on the test images |
| commit | {entry["commit"]} |
| versions | {versions}, {result["environment"]["processor"]}, {result["measured"]["processes"]} process on CPU |
| `model.safetensors` | {entry["bytes"]:,} bytes, SHA-256 `{entry["sha256"]}` |

```py
import timm, rfaconv.models

network = timm.create_model("local-dir:weights/{entry["name"]}", pretrained=True).eval()
network.pretrained_cfg["label_names"], network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
```

Takes pictures in [0, 1] of {source.input_size[0]}×{source.input_size[1]} pixels and {source.channels} channels, less `mean`, over `std`. A small network on small pictures, for trying things out and as
a start for fine-tuning; not for decisions about land or people.

## Classes

| class | recall |
|---|---|
{classes}

## Curve

| epoch | training loss | test loss | test top-1 |
|---|---|---|---|
{curve}

## Recipe

```yaml
{text.rstrip()}
```
"""


if __name__ == "__main__":
    main()
