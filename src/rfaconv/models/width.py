"""Narrower ResNets, for small data sets and quick trainings."""

from __future__ import annotations

from typing import Any

from rfaconv.errors import InvalidArgument

_CHANNELS = (64, 128, 256, 512)


def narrowed(name: str, width: float) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` that multiply the channels of a ResNet's four stages.

    Args:
        name: of the timm model.
        width: the factor, to a multiple of 8 channels.

    Raises:
        InvalidArgument: ``width`` is not above 0, or is not 1 with a network that is no ResNet.

    Example:
        >>> narrowed("rfa_resnet18", 0.25)
        {'channels': (16, 32, 64, 128)}
    """
    if not width > 0:
        raise InvalidArgument("width", "a number above 0", width)
    if width == 1:
        return {}
    if "resnet" not in name:
        raise InvalidArgument("width", f"1 with {name}, which is no ResNet", width)
    return {"channels": scaled(_CHANNELS, width, 8)}


def scaled(channels: tuple[int, ...], width: float, multiple: int = 1) -> tuple[int, ...]:
    """Channels times ``width``, rounded to multiples.

    Example:
        >>> scaled((16, 24), 1.2)
        (19, 29)
    """
    return tuple(max(multiple, multiple * round(c * width / multiple)) for c in channels)
