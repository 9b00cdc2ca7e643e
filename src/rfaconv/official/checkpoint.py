"""Loads published network checkpoints into networks of this library."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument, UnsafeCheckpoint
from rfaconv.official.forks import adapt, follow, inner_network
from rfaconv.official.layers import clean_keys

Network = TypeVar("Network", bound=nn.Module)

_CONTAINERS = ("model_state_dict", "state_dict")
_PLAIN = (Tensor, nn.Parameter)
_ZIP = b"PK"
_PICKLE = b"\x80"  # how torch wrote before 1.6


def load(model: Network, path: str | Path | Mapping[str, Tensor]) -> Network:
    """Loads a published checkpoint of a whole network, in place.

    Understands what the authors' trainer writes: a plain state dict, or one under
    ``model_state_dict`` beside the optimizer's; ``module.`` before every key; thop's ``total_ops``
    and ``total_params`` among the keys; the older name ``cam`` of RFCBAM's ``se``; the layers of
    published and forked YOLOs in a network of ultralytics. Files are read without running code from
    them. Nothing is changed if the file does not fit.

    Args:
        model: a network with published layer names, for example
            ``timm.create_model("rfa_resnet18")``, or an ``ultralytics.YOLO``.
        path: a ``.pth`` or ``.pt`` file, or a ``.safetensors`` file, or a state dict.

    Returns:
        The same model.

    Raises:
        InvalidArgument: if the file is missing, unreadable, or its tensors are not those of the
            model.
        UnsafeCheckpoint: if the file is a pickle of objects, which only their code could read.

    Example:
        >>> import tempfile
        >>> from rfaconv.nn import RFAConv2d
        >>> network = nn.Sequential(RFAConv2d(4, 8, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "latest.pth"
        ...     torch.save({"epoch": 1, "model_state_dict": network.state_dict()}, file)
        ...     load(network, file)(torch.randn(2, 4, 7, 6)).shape
        torch.Size([2, 8, 7, 6])

    Source: the authors' trainer (paper, section 4.1).
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module", f"a {type(model).__name__}")
    network = inner_network(model)
    state = clean_keys(path) if isinstance(path, Mapping) else read_state_dict(path)
    _check_data(network, state)
    state, tails = adapt(network, state)
    # a rehearsal on a copy without data finds every mismatch before a single weight is written
    rehearsal = copy.deepcopy(network).to("meta")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no-op.*")
            missing, unexpected = rehearsal.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        raise InvalidArgument(
            "path", "tensors of the model's shapes", "; ".join(reasons[:2]) or str(error)
        ) from error
    if missing or unexpected:
        got = f"{_count(missing, 'missing')} and {_count(unexpected, 'unknown')}"
        raise InvalidArgument("path", f"the tensors of {type(model).__name__}", got)
    network.load_state_dict(dict(state))
    follow(network, tails)
    return model


def _check_data(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuses tensors that could not be copied into the network's: a rehearsal copies no data."""
    own = network.state_dict()
    for name, value in state.items():
        if isinstance(own.get(name), Tensor) and own[name].is_meta and value.is_meta:
            continue
        if value.is_meta:
            raise InvalidArgument("path", "tensors with data", f"{name} on the meta device")
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            got = f"{name} of {value.dtype}, {value.layout}"
            raise InvalidArgument("path", "plain tensors of real numbers", got)
        reach = sum((n - 1) * s for n, s in zip(value.shape, value.stride(), strict=True)) + 1
        end = (value.storage_offset() + reach) * value.element_size()
        if value.numel() and type(value) in _PLAIN and value.untyped_storage().nbytes() < end:
            raise InvalidArgument("path", "tensors with data", f"{name}, whose storage was freed")


def _count(names: list[str], what: str) -> str:
    example = f" ({names[0]}{', ...' if len(names) > 1 else ''})" if names else ""
    return f"{len(names)} {what}{example}"


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint, by the names of the network's state dict.

    Args:
        path: a ``.pth`` or ``.pt`` file, or a ``.safetensors`` file.

    Raises:
        InvalidArgument: if the file is missing or unreadable or holds no state dict.
        UnsafeCheckpoint: if only code stored in the file could read it.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidArgument("path", "an existing file", str(path))
    content = _read(path)
    if isinstance(content, Mapping):
        for name in _CONTAINERS:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        expected = f"a state dict, or one under {' or '.join(_CONTAINERS)}"
        raise InvalidArgument(
            "path", expected, f"{path.name} with a {type(content).__name__} of other things"
        )
    state = clean_keys(content)
    if not state:
        raise InvalidArgument("path", "a file with tensors", f"{path.name} without any")
    return state


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InvalidArgument("path", "a safetensors file", f"{path.name}: {error}") from error
    with path.open("rb") as file:
        start = file.read(2)
    if start != _ZIP and start[:1] != _PICKLE:
        raise InvalidArgument("path", "a PyTorch checkpoint", f"{path.name}, which is not one")
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        if "Unsupported" in text:
            raise UnsafeCheckpoint(
                f"{path.name} holds pickled objects, not only tensors (as the authors' best.pth "
                "does): reading it would run code from the file. Open it where you trust it, save "
                "model.state_dict() and load that file"
            ) from error
        raise InvalidArgument(
            "path", "a PyTorch checkpoint", f"{path.name}, which is not one"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidArgument("path", "a PyTorch checkpoint", f"{path.name}: {reason}") from error
    return content
