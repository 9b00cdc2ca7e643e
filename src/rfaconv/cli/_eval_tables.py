"""Tables of ``rfaconv eval --corrupt`` and ``--gates`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def corruption_table(value: Mapping[str, Any]) -> None:
    """Top-1 of every strength of every kind, and the means with the calibration error."""
    table = Table("corruption", "strengths", "top-1", "mean", "mean ECE")
    for name, kind in value["kinds"].items():
        top1, ece = kind["top1"], kind["ece"]
        table.add_row(
            f"{name} ({kind['meaning']})",
            "  ".join(f"{strength:g}" for strength in kind["strengths"]),
            "  ".join(f"{share:.1%}" for share in top1),
            f"{sum(top1) / len(top1):.2%}",
            f"{sum(ece) / len(ece):.2%}",
        )
    console = Console()
    console.print(table)
    clean, mean = value["clean"], value["mean"]
    console.print(
        f"clean: top-1 {clean['top1']:.2%}, ECE {clean['ece']:.2%}; corrupted: top-1 "
        f"{mean['top1']:.2%}, ECE {mean['ece']:.2%}  ({value['images']} images, "
        f"{value['checkpoint']})",
        highlight=False,
    )


def gate_tables(value: Mapping[str, Any]) -> None:
    """The layers, the epochs that the run keeps, and the scores."""
    from rfaconv.lab.tasks import TITLES

    layers = Table(
        "layer", "gates", "mean", "std", "windows", "images", "entropy",
        caption="windows, images: standard deviation of a tap's gate between windows of an image, "
        "and of its means between images. Entropy: 100% is uniform.",
    )  # fmt: skip
    for name, one in value["layers"].items():
        figures = (one["mean"], one["std"], one["between_windows"], one["between_images"])
        shown = (f"{figure:.4f}" for figure in figures)
        layers.add_row(name, one["gate"], *shown, _share(one["entropy"]))
    epochs = Table("epoch", "entropy", "windows / mean", "images / mean")
    for row in value["epochs"]:
        epochs.add_row(
            str(row["epoch"]), _share(row["entropy"]), f"{row['between_windows']:.1%}",
            f"{row['between_images']:.1%}",
        )  # fmt: skip
    console = Console()
    console.print(layers)
    console.print(epochs)
    score, title = value["score"], TITLES[value["score_name"]]
    said = f"{title} {score['trained']:.2%}; gates at their means {score['constant']:.2%}"
    if score["uniform"] is not None:
        said += f"; uniform gates {score['uniform']:.2%}"
    console.print(f"{said}  ({value['checkpoint']})", highlight=False)


def _share(entropy: float | None) -> str:
    return "-" if entropy is None else f"{entropy:.2%}"
