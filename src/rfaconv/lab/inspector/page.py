"""The inspector: an image, the layers of a network on it, and what to compare them with."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from rfaconv.effective import operator_layers
from rfaconv.errors import InvalidArgument
from rfaconv.lab.explain.images import chosen_layers
from rfaconv.lab.explain.views import View, said, subject
from rfaconv.lab.inspector.packing import packed_layer, quantised
from rfaconv.nn import CAConv2d, CBAMConv2d

PAGE_BYTES = 5_000_000
SHARE = 0.68
"""Of what the image leaves, for gates and weights before base64, which adds a third."""
FIXED_BYTES = 120_000
"""Of the page itself and of what is said about each layer."""
LAYERS = 4
BESIDE: dict[str, type[CBAMConv2d] | type[CAConv2d]] = {"CBAM": CBAMConv2d, "CA": CAConv2d}


def inspector_page(
    view: View,
    image: Tensor,
    *,
    title: str,
    layers: Sequence[str] = (),
    beside: Sequence[tuple[str, View]] = (),
    target: str | None = None,
) -> str:
    """One self-contained page: click a pixel of the image and see the gates of its window.

    Args:
        view: the network.
        image: bytes (3, H, W).
        title: of the page.
        layers: names of operators; four of them, the first and the last among them, if none is
            named.
        beside: networks to compare with, such as the same one with CBAM, with their names. Layers
            that no such network has are compared with a fresh CBAM and a fresh CA on the same
            input, whose gates are not trained but are shared in the way that theirs are.
        target: the class of the activation map; None for the one that is found.

    Raises:
        InvalidArgument: the network has no operator, or none of a name.
    """
    chosen = chosen_layers(view.network, layers or _spread(view))
    if not chosen:
        raise InvalidArgument("model", "a network with an operator", "one without")
    seen = view.shown(image)
    found = view.find(seen)
    meant = target or (subject(found) if view.task != "detect" else None)

    heat = view.heat(seen, found, meant)
    inputs = _inputs(view, chosen, seen)
    others = [(name, _matching(other, chosen), other) for name, other in beside]
    shown = _uri(seen)
    entries = len(chosen) * (1 + (len(beside) or len(BESIDE)))
    budget = int(SHARE * max(0, PAGE_BYTES - FIXED_BYTES - len(shown))) // entries
    rows = []
    for name, layer in chosen.items():
        row = [packed_layer(name, layer, inputs[name], budget)]
        for label, matched, other in others:
            if name in matched:
                x = _inputs(other, {name: matched[name]}, other.shown(image))[name]
                row.append(packed_layer(name, matched[name], x, budget, label))
        if len(row) == 1:
            row += [packed_layer(name, fresh, inputs[name], budget, f"{label} (untrained)")
                    for label, fresh in _fresh(layer).items()]  # fmt: skip
        rows.append(row)
    data = {
        "title": title,
        "size": list(seen.shape[1:]),
        "image": shown,
        "heat": {**quantised(_coarse(heat)[None]).as_json(), "size": list(_coarse(heat).shape)},
        "target": meant or "",
        "said": said(found, 3),
        "layers": rows,
    }
    return _render(title, data)


def _spread(view: View) -> tuple[str, ...]:
    names = [name.removeprefix("network.") for name in operator_layers(view.network)]
    count = min(LAYERS, len(names))
    steps = [round(i * (len(names) - 1) / max(1, count - 1)) for i in range(count)]
    return tuple(names[i] for i in dict.fromkeys(steps))


def _inputs(view: View, layers: dict[str, nn.Conv2d], seen: Tensor) -> dict[str, Tensor]:
    inputs = view.inputs(seen, list(layers.values()))
    return dict(zip(layers, (x[:1] for x in inputs), strict=True))


def _matching(view: View, chosen: dict[str, nn.Conv2d]) -> dict[str, nn.Conv2d]:
    """The layers of another network in the same places."""
    known = {name.removeprefix("network."): m for name, m in operator_layers(view.network).items()}
    return {name: known[name] for name in chosen if name in known}


def _fresh(layer: nn.Conv2d) -> dict[str, nn.Conv2d]:
    """Layers of attention over pixels in the geometry of a layer, always the same ones."""
    made: dict[str, nn.Conv2d] = {}
    with torch.random.fork_rng(devices=[]):
        for label, kind in BESIDE.items():
            torch.manual_seed(0)
            new = kind(
                layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,
                layer.padding, layer.dilation, layer.groups, bias=False,
            )  # fmt: skip
            with torch.no_grad():
                new.weight.copy_(layer.weight.detach().reshape(new.weight.shape))
            made[label] = new.eval()
    return made


def _coarse(heat: Tensor) -> Tensor:
    """At most 128 rows and columns."""
    step = max(1, -(-max(heat.shape) // 128))
    pooled: Tensor = torch.nn.functional.avg_pool2d(heat[None, None], step, ceil_mode=True)[0, 0]
    return pooled


def _uri(image: Tensor) -> str:
    buffer = io.BytesIO()
    picture = to_pil_image(image)
    small = max(picture.size) <= 128
    # small images are looked at pixel by pixel
    picture.save(buffer, "PNG" if small else "WEBP", **({} if small else {"quality": 92}))
    kind = "png" if small else "webp"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def _render(title: str, data: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader

    folder = files(__package__)
    parts = {name: (folder / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    texts = (folder / "texts.json").read_text(encoding="utf-8")
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True)
    # "</" would end the script in which the values lie
    values = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    page: str = environment.get_template("page.html.j2").render(
        title=title, values=values, texts=texts.replace("</", "<\\/"), **parts
    )
    if len(page.encode()) > PAGE_BYTES:
        got = f"{len(page.encode()) / 1e6:.1f} MB"
        raise InvalidArgument("layers", f"fewer, for a page of {PAGE_BYTES / 1e6:.0f} MB", got)
    return page
