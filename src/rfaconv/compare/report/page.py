"""report.html: one page with everything in it, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from rfaconv.compare.maps import AttentionMaps
from rfaconv.compare.report import charts, pictures
from rfaconv.compare.report.style import STYLE
from rfaconv.compare.results import against_baseline
from rfaconv.compare.summary import accuracy_text, difference_text, sentences


def page(results: Mapping[str, Any], maps: Mapping[str, AttentionMaps]) -> str:
    """The whole page.

    Args:
        results: content of results.json.
        maps: attention maps per operator, of the first seed.
    """
    settings = results["settings"]
    seeds = len(settings["seeds"])
    title = f"Attention convolutions on {settings['data']}"
    several = f"{seeds} seeds each" if seeds > 1 else "one seed"
    images = f"{settings['train_images']:,} training and {settings['val_images']:,} validation"
    lead = (
        f"One ResNet (<b>{escape(settings['model'])}</b>), trained with a standard convolution or "
        f"an attention operator as the first 3×3 layer of every block: same data, same schedule "
        f"of {settings['epochs']} epochs, {several}. {images} images of "
        f"{settings['image_size']}×{settings['image_size']} pixels, {settings['classes']} classes. "
        "Accuracy is that after the last epoch."
    )
    verdicts = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(results))
    body = [
        f"<h1>{escape(title)}</h1><p class='lead'>{lead}</p>",
        f"<div class='verdicts'>{verdicts}</div>",
        f"<div class='card'>{_table(results)}</div>",
        _difference_section(results),
        _curve_section(results),
        _cost_section(results),
        _map_section(results, maps),
        _facts(results),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _table(results: Mapping[str, Any]) -> str:
    settings = results["settings"]
    baseline = settings["baseline"]
    heads = (
        "operator", "top-1, %<br>mean ± std", f"vs {baseline}, points<br>95% interval", "verdict",
        "parameters", "MMACs", "latency<br>ms", "memory<br>MiB", "training<br>s",
    )  # fmt: skip
    best = max(row["top1_mean"] for row in results["operators"].values())
    differences = against_baseline(results)
    rows = []
    for name in settings["operators"]:
        row, measured = results["operators"][name], results["measured"][name]
        difference = differences.get(name)
        verdict = difference["verdict"] if difference else "baseline"
        kind = verdict if verdict in ("higher", "lower") else "quiet"
        seconds = sum(measured["train_seconds"]) / len(measured["train_seconds"])
        cells = (
            difference_text(difference) if difference else "",
            f"<span class='{kind}'>{verdict}</span>",
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:,.2f}",
            f"{measured['latency_ms']:.2f}",
            f"{measured['peak_mib']:.1f}",
            f"{seconds:.1f}",
        )
        mark = " class='best'" if row["top1_mean"] == best else ""
        key = f"<span class='key'><i style='background:{charts.colour(name)}'></i>{name}</span>"
        rows.append(
            f"<tr><td>{key}</td><td{mark}>{accuracy_text(row)}</td>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    head = "".join(f"<th>{text}</th>" for text in heads)
    note = (
        f"<p class='quiet note'>Latency of one image; memory of tensors in a training step of "
        f"{settings['batch_size']} images; training time is the mean over the seeds.</p>"
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"


def _difference_section(results: Mapping[str, Any]) -> str:
    chart = charts.difference_chart(results)
    if not chart:
        return ""
    baseline = results["settings"]["baseline"]
    count = len(against_baseline(results))
    chance = 100 * (1 - 0.95**count)
    several = (
        f" Each interval stands for itself: if all {count} operators were equal to {baseline}, "
        f"there would still be a chance of up to {chance:.0f}% that one of them seems to differ."
        if count > 1
        else ""
    )
    return (
        f"<h2>What differs from {baseline}</h2><p>Seed by seed, each operator against {baseline} "
        "with the same seed. The large dot is the mean, the bar its 95% interval (Student's t "
        "over the seeds, at least one image wide), the small dots are the seeds. An interval that "
        f"contains zero is within noise.{several}</p>"
        f"<div class='card'>{chart}</div>"
    )


def _curve_section(results: Mapping[str, Any]) -> str:
    settings = results["settings"]
    drawings = [charts.curve_chart(results, "val_top1", "validation top-1, %", 100)]
    if settings["epochs"] >= 6:
        half = settings["epochs"] // 2 + 1
        title = "validation top-1 in the second half, %"
        drawings.append(charts.curve_chart(results, "val_top1", title, 100, first=half))
        drawings.append(charts.curve_chart(results, "val_loss", "validation loss"))
    drawings.append(charts.curve_chart(results, "train_loss", "training loss"))
    cards = "".join(f"<div class='card'>{drawing}</div>" for drawing in drawings)
    return (
        "<h2>Learning curves</h2><p>Mean over the seeds; the band spans them.</p>"
        f"{charts.legend(settings['operators'])}<div class='pair'>{cards}</div>"
    )


def _cost_section(results: Mapping[str, Any]) -> str:
    operators, measured = results["operators"], results["measured"]
    drawings = (
        charts.cost_chart(results, lambda n: operators[n]["macs"] / 1e6, "million multiply-adds"),
        charts.cost_chart(
            results, lambda n: operators[n]["parameters"] / 1e3, "thousand parameters"
        ),
        charts.cost_chart(results, lambda n: measured[n]["latency_ms"], "latency of one image, ms"),
        charts.cost_chart(results, lambda n: measured[n]["peak_mib"], "training memory, MiB"),
    )
    cards = "".join(f"<div class='card'>{drawing}</div>" for drawing in drawings)
    return (
        "<h2>Accuracy against cost</h2><p>Further up and further left is better. Bars are one "
        "standard deviation over the seeds. Latency and memory were measured on this machine "
        f"({escape(str(results['environment']['device']))}).</p><div class='pair'>{cards}</div>"
    )


def _map_section(results: Mapping[str, Any], maps: Mapping[str, AttentionMaps]) -> str:
    if not maps:
        return ""
    seed = results["settings"]["seeds"][0]
    names = [name for name in results["settings"]["operators"] if name in maps]
    gated = [name for name in names if maps[name].gate is not None]
    parts = ["<h2>Where the attention looks</h2>"]
    if gated:
        sharing = ", ".join(f"{name} {100 * (maps[name].sharing or 0):.0f}%" for name in gated)
        parts.append(
            f"<p>The gates of the first attention layer (networks of seed {seed}), averaged over "
            "channels and over all windows that see a pixel: red pixels are let through more than "
            "the average pixel of the image, blue ones less. The number under each name is how far "
            "the strongest pixel strays from the average; near zero the attention hardly chooses "
            "among places (CAM only chooses among channels). How many overlapping windows share a "
            f"pixel's gate: {sharing}. An attention map over pixels makes all of them share it; "
            "receptive-field attention gives each window gates of its own, which this average "
            "over windows hides.</p>"
        )
        parts.append(f"<div class='card'>{_gate_grid(results, maps, gated)}</div>")
    parts.append(
        "<p>What the decision rests on: input times gradient of the winning class, summed over "
        "channels; bright pixels matter. A red frame is a wrong answer.</p>"
    )
    parts.append(f"<div class='card'>{_heat_grid(results, maps, names)}</div>")
    return "".join(parts)


def _gate_grid(
    results: Mapping[str, Any], maps: Mapping[str, AttentionMaps], names: list[str]
) -> str:
    reach = {}
    heads = []
    for name in names:
        gate = maps[name].gate
        assert gate is not None
        reach[name] = float((gate - 1).abs().max())
        heads.append(f"<b>{name}<small>± {100 * reach[name]:.2g}%</small></b>")
    cells = []
    for index, first in enumerate(_images(results, maps)):
        cells.append(first)
        for name in names:
            gate = maps[name].gate
            assert gate is not None
            address = pictures.gate_picture(gate[index], reach[name])
            cells.append(f"<img src='{address}' alt='gate of {name}'>")
    scale = _scale(pictures.css_gradient(pictures.DIVERGING), "less", "more than average")
    return _grid(heads, cells) + scale


def _heat_grid(
    results: Mapping[str, Any], maps: Mapping[str, AttentionMaps], names: list[str]
) -> str:
    heads = [f"<b>{name}</b>" for name in names]
    classes = results["classes"]
    cells = []
    for index, first in enumerate(_images(results, maps)):
        cells.append(first)
        for name in names:
            shown = maps[name]
            address = pictures.heat_picture(shown.gradient[index])
            said, true = int(shown.predictions[index]), int(shown.labels[index])
            kind = "" if said == true else " class='wrong'"
            tip = f"{name} says {classes[said]}"
            cells.append(f"<img{kind} src='{address}' alt='' title='{escape(tip, quote=True)}'>")
    return _grid(heads, cells) + _scale(
        pictures.css_gradient(pictures.SEQUENTIAL), "nothing", "most"
    )


def _images(results: Mapping[str, Any], maps: Mapping[str, AttentionMaps]) -> list[str]:
    shown = next(iter(maps.values()))
    classes = results["classes"]
    return [
        f"<img src='{pictures.photo(image)}' alt='' "
        f"title='{escape(classes[int(label)], quote=True)}'>"
        for image, label in zip(shown.images, shown.labels, strict=True)
    ]


def _grid(heads: list[str], cells: list[str]) -> str:
    columns = len(heads) + 1
    return (
        f"<div class='maps' style='grid-template-columns:repeat({columns},76px)'>"
        f"<b>image</b>{''.join(heads)}{''.join(cells)}</div>"
    )


def _scale(gradient: str, low: str, high: str) -> str:
    return f"<p class='scale'>{low}<i style='background:{gradient}'></i>{high}</p>"


def _facts(results: Mapping[str, Any]) -> str:
    environment = dict(results["environment"])
    packages = environment.pop("packages")
    environment["packages"] = ", ".join(f"{k} {v}" for k, v in packages.items() if v)
    groups = (
        ("Settings", {k: _plain(v) for k, v in results["settings"].items()}),
        ("Machine and versions", {k: _plain(v) for k, v in environment.items()}),
    )
    parts = ["<h2>How this was made</h2>"]
    for title, values in groups:
        rows = "".join(
            f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(value)}</td></tr>"
            for name, value in values.items()
        )
        parts.append(f"<details><summary>{title}</summary><table>{rows}</table></details>")
    for item in results["skipped_images"][:50]:
        parts.append(f"<p class='quiet'>skipped {escape(item)}</p>")
    parts.append(
        f"<p class='quiet'>Digest of all numbers that do not depend on time: "
        f"<code>{results['digest'][:16]}</code>. The numbers are in results.json.</p>"
    )
    return "".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
