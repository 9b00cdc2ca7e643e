"""Which device to train on."""

from __future__ import annotations

import torch

from rfaconv.errors import InvalidArgument


def resolve_device(name: str) -> torch.device:
    """The device that ``name`` means; ``auto`` is the first GPU, else the CPU.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InvalidArgument: no such device, or not on this machine.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    expected = "auto, cpu, cuda, cuda:N or mps"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidArgument("device", expected, repr(name)) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise InvalidArgument("device", f"one of this machine's {count} CUDA devices", name)
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InvalidArgument("device", "a device of this machine", name)
    if device.type not in ("cpu", "mps"):
        raise InvalidArgument("device", expected, repr(name))
    return device
