"""Trained networks as folders that timm, huggingface_hub and this package read."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.source import Source, normalisation

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
REMOTE = "hf-hub:"


def save_pretrained(
    model: nn.Module | Source,
    folder: Path | str,
    *,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: tuple[int, int] | None = None,
    architecture: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> Path:
    """Writes ``model.safetensors``, ``config.json`` and ``README.md`` into a new folder.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` makes the network from it once
    ``rfaconv.models`` is imported; so do :func:`from_pretrained` and every command of ``rfaconv``
    that takes a network. It is made again by its name before anything is written, and has to give
    the same outputs.

    Args:
        model: a classifier of timm's, or a :class:`Source`, as ``rfaconv.lab.load_source`` reads
            it from a run of ``rfaconv train``; what is None below is taken from it.
        folder: does not exist yet; all of it is there at once, or nothing.
        classes: their names, one per output.
        mean: per channel, of pictures in [0, 1].
        std: per channel.
        input_size: height and width that it was trained for, in pixels.
        architecture: the name for ``timm.create_model``; say ``rfa_resnet18`` for a
            ``resnet18`` that :func:`rfaconv.convert_` changed.
        arguments: of ``timm.create_model``, beside classes and channels, as JSON has them.
        card: the text of ``README.md``; None for a short one.

    Returns:
        The folder.

    Raises:
        InvalidArgument: the folder exists, an argument does not fit the network, or timm does not
            make it by a name.

    Example:
        >>> import tempfile, timm, rfaconv.models
        >>> network = timm.create_model("rfa_resnet18", num_classes=2, channels=(8, 8, 8, 8))
        >>> made = save_pretrained(
        ...     network, tempfile.mkdtemp() + "/made", classes=["sea", "land"],
        ...     arguments={"channels": [8, 8, 8, 8]},
        ... )
        >>> from_pretrained(made).pretrained_cfg["label_names"]
        ['sea', 'land']
    """
    from timm.models import save_for_hf

    folder = Path(folder)
    if not folder.parent.is_dir():
        raise InvalidArgument("folder", "a place in a folder that exists", str(folder))
    if folder.exists() or folder.is_symlink():
        raise InvalidArgument("folder", "one that does not exist", str(folder))
    source = model if isinstance(model, Source) else _described(model)
    given = {
        "classes": None if classes is None else tuple(classes),
        "mean": None if mean is None else tuple(mean),
        "std": None if std is None else tuple(std),
        "input_size": input_size,
        "architecture": architecture,
        "arguments": arguments,
    }
    source = Source(**{**vars(source), **{k: v for k, v in given.items() if v is not None}})
    network = _rebuilt(source)
    config: dict[str, Any] = {
        "pretrained_cfg": {
            "input_size": [source.channels, *source.input_size],
            **({"mean": list(source.mean)} if source.mean else {}),
            **({"std": list(source.std)} if source.std else {}),
        },
        "label_names": list(source.classes),
    }
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        save_for_hf(
            network, str(temporary), config, dict(source.arguments), safe_serialization=True
        )
        text = _card(folder.resolve().name, source) if card is None else card
        (temporary / CARD).write_text(text, encoding="utf-8")
        (temporary / WEIGHTS).chmod(0o644)  # safetensors makes it for its owner alone
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def from_pretrained(place: Path | str, **arguments: Any) -> nn.Module:
    """The network of a folder of :func:`save_pretrained`, in evaluation mode.

    Its ``pretrained_cfg`` has ``label_names``, ``mean``, ``std`` and ``input_size``.

    Args:
        place: the folder; or ``hf-hub:OWNER/NAME``, which alone uses the network.
        arguments: of ``timm.create_model``: ``num_classes`` for a new head, say.

    Raises:
        InvalidArgument: no such folder.
    """
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    name = str(place)
    if not name.startswith(REMOTE):
        if not (Path(place) / CONFIG).is_file():
            expected = f"a folder with {CONFIG} and {WEIGHTS}, or {REMOTE}OWNER/NAME"
            raise InvalidArgument("place", expected, name)
        name = f"local-dir:{Path(place).resolve()}"
    network: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    return network.eval()


def push_to_hub(
    folder: Path | str,
    repository: str,
    *,
    token: str | None = None,
    private: bool = False,
    message: str = "Add network",
) -> str:
    """Uploads a folder of :func:`save_pretrained` by huggingface_hub.

    Args:
        folder: of :func:`save_pretrained`; every file in it is uploaded.
        repository: ``OWNER/NAME``; made if it does not exist.
        token: None for the one that huggingface_hub has stored.
        private: of a repository that is made.
        message: of the commit.

    Returns:
        The name for :func:`from_pretrained`.

    Raises:
        InvalidArgument: no such folder; nothing was sent.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InvalidArgument("folder", "one of save_pretrained", f"{folder}, no {missing[0]}")
    api = HfApi(token=token)
    made = api.create_repo(repository, private=private, exist_ok=True)
    api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message)
    return f"{REMOTE}{made.repo_id}"


def _described(network: nn.Module) -> Source:
    """What a network of timm's says of itself."""
    if not isinstance(network, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module or a Source", type(network).__name__)
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    channels = getattr(network, "in_chans", None) or (first.in_channels if first else 3)
    return Source(
        network, "network", tuple(config.get("input_size", (3, 224, 224))[1:]), channels,
        tuple(config.get("label_names") or ()), *normalisation(config, channels),
        config.get("architecture") or "",
        # recorded by timm from 1.0.30 or so; before, they have to be given
        dict(getattr(network, "_model_args", {})),
    )  # fmt: skip


def _rebuilt(source: Source) -> nn.Module:
    """The network as ``timm.create_model`` makes it, with the source's weights."""
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    expected = "the name of a network of timm's"
    if not source.architecture:
        raise InvalidArgument("architecture", expected, "none, and the network has none")
    if not timm.is_model(source.architecture):
        raise InvalidArgument("architecture", expected, repr(source.architecture))
    count: Any = getattr(source.network, "num_classes", None)
    if count is None:
        raise InvalidArgument("model", "a classifier of timm's", type(source.network).__name__)
    if source.classes and len(source.classes) != count:
        raise InvalidArgument("classes", f"{count} names", f"{len(source.classes)}")
    for name, values in (("mean", source.mean), ("std", source.std)):
        if values and len(values) != source.channels:
            raise InvalidArgument(name, f"{source.channels} numbers", f"{len(values)}")
    arguments = {"num_classes": count, "in_chans": source.channels, **source.arguments}
    try:
        network: Any = timm.create_model(source.architecture, **arguments)
        network.load_state_dict(source.network.state_dict())
    except (TypeError, RuntimeError) as error:
        got = f"{source.architecture!r}: {' '.join(str(error).split())[:200]}"
        raise InvalidArgument(
            "architecture", "the network's own, with its arguments", got
        ) from error
    x = torch.rand(
        2, source.channels, *source.input_size, generator=torch.Generator().manual_seed(0)
    )
    difference = _difference(copy.deepcopy(source.network).cpu().float(), network, x)
    if not difference <= 1e-4:
        got = f"{source.architecture!r}, whose outputs differ by {difference:.1e}"
        raise InvalidArgument("architecture", "the network's own, with its arguments", got)
    result: nn.Module = network
    return result


def _difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """Relative to the largest output."""
    with torch.no_grad():
        a, b = one.eval()(x), other.eval()(x)
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / a.abs().max().clamp_min(torch.finfo(torch.float32).tiny))


def _card(name: str, source: Source) -> str:
    classes = f"\nClasses: {', '.join(source.classes)}.\n" if source.classes else ""
    high, wide = source.input_size
    return f"""---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- rfaconv
---
# {name}

`{source.architecture}` of rfaconv and timm, trained at {high}×{wide} pixels.
{classes}
```py
import timm, rfaconv.models

network = timm.create_model("local-dir:{name}", pretrained=True)
```
"""
