"""Images and maps as small PNG pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

Anchors = Sequence[tuple[int, int, int]]

# below 1, at 1, above 1; and from nothing to much
DIVERGING: Anchors = (
    (28, 60, 120), (76, 132, 190), (168, 200, 222), (240, 240, 238), (240, 190, 150),
    (214, 112, 72), (140, 36, 40),
)  # fmt: skip
SEQUENTIAL: Anchors = (
    (18, 14, 34), (70, 24, 92), (142, 40, 108), (212, 72, 84), (248, 140, 74), (252, 230, 160),
)  # fmt: skip


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """PNG of (H, W) grey or (H, W, 3) colour bytes as a ``data:`` address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def coloured(values: npt.NDArray[np.float64], anchors: Anchors) -> npt.NDArray[np.uint8]:
    """Colours (H, W, 3) for values in [0, 1] (H, W), linear between the anchors."""
    table = np.asarray(anchors, dtype=np.float64)
    at = np.clip(values, 0, 1) * (len(table) - 1)
    channels = [np.interp(at, np.arange(len(table)), table[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def photo(image: Tensor) -> str:
    """An image (C, H, W) of bytes."""
    pixels = image.permute(1, 2, 0).numpy()
    return data_uri(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def gate_picture(gate: Tensor, reach: float) -> str:
    """Gates (H, W) around 1: ``1 - reach`` is the darkest blue, ``1 + reach`` the darkest red."""
    values = (gate.double().numpy() - 1) / (2 * max(reach, 1e-12)) + 0.5
    return data_uri(coloured(values, DIVERGING))


def heat_picture(heat: Tensor) -> str:
    """Values (H, W) in [0, 1]; the square root shows the weaker ones too."""
    return data_uri(coloured(heat.double().clamp_min(0).sqrt().numpy(), SEQUENTIAL))


def css_gradient(anchors: Anchors) -> str:
    """The colours as a CSS gradient, for a scale beside the pictures."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in anchors)
    return f"linear-gradient(90deg, {stops})"
