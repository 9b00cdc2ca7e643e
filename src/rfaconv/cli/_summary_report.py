"""The numbers of ``rfaconv summary``, gathered as plain values and shown as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfaconv.errors import InvalidArgument


def collect(name: str, image_size: int | None, channels: int, classes: int) -> dict[str, Any]:
    """Costs of the timm model ``name``, per layer and in all.

    Raises:
        InvalidArgument: no such model, or an image that it cannot take.
    """
    for argument, value in (
        ("image_size", image_size),
        ("channels", channels),
        ("classes", classes),
    ):
        if value is not None and value < 1:
            raise InvalidArgument(argument, "1 or more", value)

    import difflib

    import timm

    import rfaconv.models
    from rfaconv.lab.costs import network_cost

    assert rfaconv.models.MODEL_NAMES
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InvalidArgument("model", f"a model of timm or of rfaconv{hint}", repr(name))
    network = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels)
    configured = getattr(network, "pretrained_cfg", None) or {}
    size = image_size or tuple(configured.get("input_size") or (3, 224, 224))[-1]
    try:
        cost = network_cost(network, (channels, size, size))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidArgument(
            "image_size", f"a size that {name} takes", f"{size} ({reason})"
        ) from error
    return {
        "model": name,
        "image": [channels, size, size],
        "parameters": cost.parameters,
        "macs": cost.macs,
        "attention_parameters": cost.attention_parameters,
        "attention_macs": cost.attention_macs,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "output": list(layer.output),
                "parameters": layer.parameters,
                "macs": layer.macs,
                "attention_parameters": layer.attention_parameters,
                "attention_macs": layer.attention_macs,
            }
            for layer in cost.layers
        ],
    }


def show(report: Mapping[str, Any], layers: bool) -> None:
    """Prints the numbers."""
    from rich.console import Console
    from rich.table import Table

    image = "x".join(map(str, report["image"]))
    table = Table(title=f"{report['model']}, image {image}", title_justify="left")
    for name in ("", "parameters", "of it attention", "MMACs", "of it attention"):
        table.add_column(name, justify="right" if name else "left")
    if layers:
        for row in report["layers"]:
            shape = "x".join(map(str, row["output"]))
            table.add_row(f"{row['name']} [dim]{row['kind']} {shape}[/dim]", *_cells(row))
        table.add_section()
    else:
        for kind, row in _by_kind(report["layers"]).items():
            table.add_row(f"{row['count']} {kind}", *_cells(row))
        table.add_section()
    table.add_row("[bold]network[/bold]", *_cells(report))
    console = Console()
    console.print(table)
    console.print(
        "Multiply-adds of convolutions, operators and linear layers for one image; "
        "the network's parameters include its norms.",
        style="dim",
    )


def _by_kind(layers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {}
    for layer in layers:
        row = kinds.setdefault(layer["kind"], {"count": 0})
        row["count"] += 1
        for key in ("parameters", "macs", "attention_parameters", "attention_macs"):
            row[key] = row.get(key, 0) + layer[key]
    return kinds


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    def share(part: int, whole: int) -> str:
        return f"{part:,} ({100 * part / whole:.1f}%)" if part else "–"

    mega = f"{row['attention_macs'] / 1e6:.2f}"
    percent = 100 * row["attention_macs"] / max(1, row["macs"])
    return (
        f"{row['parameters']:,}",
        share(row["attention_parameters"], max(1, row["parameters"])),
        f"{row['macs'] / 1e6:,.2f}",
        f"{mega} ({percent:.1f}%)" if row["attention_macs"] else "–",
    )
