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
from rfaconv.export.building import Construction, construction_of, named, network_in
from rfaconv.export.reading import CONFIG, REMOTE, WEIGHTS
from rfaconv.export.source import Source, normalisation
from rfaconv.files import strict_json
from rfaconv.surgery.description import conversion_of, converted_like

CARD = "README.md"
TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output, that is rounding."""
FORMAT = 1
_SIZES = {"ultralytics": 640}


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

    :func:`rfaconv.export.from_pretrained` makes the network from it, and so does every command of
    ``rfaconv`` that takes a network. It is made again before anything is written, and has to give
    the same outputs.
    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` makes it too, once ``rfaconv.models``
    is imported, if it is a classifier of timm's that no :func:`rfaconv.convert_` changed.

    Args:
        model: a network of timm, torchvision, segmentation_models_pytorch, ultralytics or
            transformers, converted or not, fused or not; or a :class:`Source`, as
            ``rfaconv.lab.load_source`` reads it from a run of ``rfaconv train``; what is None below
            is taken from it.
        folder: does not exist yet; all of it is there at once, or nothing.
        classes: their names, one per output.
        mean: per channel, of images in [0, 1].
        std: per channel.
        input_size: height and width that it was trained for, in pixels.
        architecture: a name of timm's, or ``torchvision:NAME``; networks of other libraries know
            their own.
        arguments: what else the network is built with, as JSON has them.
        card: the text of ``README.md``; None for a short one.

    Returns:
        The folder.

    Raises:
        InvalidArgument: the folder exists, an argument does not fit the network, or the network
            that is built by name and arguments is another one.

    Example:
        >>> import tempfile, timm, rfaconv.models
        >>> from rfaconv.export import from_pretrained
        >>> network = timm.create_model("rfa_resnet18", num_classes=2, channels=(8, 8, 8, 8))
        >>> made = save_pretrained(
        ...     network, tempfile.mkdtemp() + "/made", classes=["sea", "land"],
        ...     arguments={"channels": [8, 8, 8, 8]},
        ... )
        >>> from_pretrained(made).pretrained_cfg["label_names"]
        ['sea', 'land']
    """
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise InvalidArgument("folder", "a place in a folder that exists", str(folder))
    if folder.exists() or folder.is_symlink():
        raise InvalidArgument("folder", "one that does not exist", str(folder))
    source = model if isinstance(model, Source) else _described(network_in(model))
    given = {
        "classes": None if classes is None else tuple(classes),
        "mean": None if mean is None else tuple(mean),
        "std": None if std is None else tuple(std),
        "input_size": input_size,
        "architecture": architecture,
        "arguments": arguments,
    }
    source = Source(**{**vars(source), **{k: v for k, v in given.items() if v is not None}})
    construction, network, converted = _rebuilt(source)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        if construction.library == "timm" and not converted:
            _save_for_timm(network, temporary, source)
        else:
            _save(network, temporary, source, construction)
        text = _card(folder.resolve().name, source, construction, converted)
        (temporary / CARD).write_text(text if card is None else card, encoding="utf-8")
        (temporary / WEIGHTS).chmod(0o644)  # safetensors makes it for its owner alone
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


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
        The name for :func:`rfaconv.export.from_pretrained`.

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
    """What a network says of itself."""
    if not isinstance(network, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module or a Source", type(network).__name__)
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    first = next((m for m in network.modules() if isinstance(m, kinds)), None)
    channels = getattr(network, "in_chans", None) or (first.in_channels if first else 3)
    built = construction_of(network)
    library = built.library if built else ""
    side = _SIZES.get(library) or getattr(getattr(network, "config", None), "image_size", None)
    size = (side, side) if isinstance(side, int) else (224, 224)
    if config.get("input_size"):
        size = tuple(config["input_size"][1:])
    return Source(
        network, "network", size, channels, _names(network, config),
        *normalisation(config, channels), built.architecture if built else "",
        built.arguments if built else {},
    )  # fmt: skip


def _names(network: nn.Module, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the classes, where the network has them."""
    if config.get("label_names"):
        return tuple(config["label_names"])
    names: Any = getattr(network, "names", None)  # ultralytics
    if isinstance(names, Mapping):
        return tuple(str(names[key]) for key in sorted(names))
    return ()


def _rebuilt(source: Source) -> tuple[Construction, nn.Module, bool]:
    """The network as it will be built again, with the source's weights; whether it is converted."""
    if not source.architecture:
        expected = "the name of a network of timm's, or torchvision:NAME"
        raise InvalidArgument("architecture", expected, "none, and the network has none")
    count: Any = getattr(source.network, "num_classes", None)
    arguments = dict(source.arguments)
    construction = named(source.architecture, arguments)
    if construction.library == "timm":
        if count is None:
            raise InvalidArgument("model", "a classifier of timm's", type(source.network).__name__)
        standard = {"num_classes": count, "in_chans": source.channels}
        construction = named(source.architecture, {**standard, **arguments})
        if source.classes and len(source.classes) != count:
            raise InvalidArgument("classes", f"{count} names", f"{len(source.classes)}")
    for name, values in (("mean", source.mean), ("std", source.std)):
        if values and len(values) != source.channels:
            raise InvalidArgument(name, f"{source.channels} numbers", f"{len(values)}")
    description = conversion_of(source.network)
    state = source.network.state_dict()
    network = construction.build()
    converted = False
    try:
        if description["layers"] and network.state_dict().keys() != state.keys():
            converted_like(network, description)
            converted = True
        network.load_state_dict(state)
    except (InvalidArgument, RuntimeError) as error:
        got = f"{source.architecture!r}: {' '.join(str(error).split())[:200]}"
        raise InvalidArgument(
            "architecture", "the network's own, with its arguments", got
        ) from error
    shape = (2, source.channels, *source.input_size[: _dims(network)])
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    difference = _difference(copy.deepcopy(source.network).cpu().float(), network, x)
    if not difference <= TOLERANCE:
        got = f"{source.architecture!r}, whose outputs differ by {difference:.1e}"
        raise InvalidArgument("architecture", "the network's own, with its arguments", got)
    return construction, network, converted


def _dims(network: nn.Module) -> int:
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    first = next((m for m in network.modules() if isinstance(m, kinds)), None)
    return 2 if first is None else len(first.kernel_size)


def _difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """Of the outputs, relative to the largest of each tensor; infinite where they cannot be."""
    with torch.no_grad():
        pairs = list(zip(_tensors(one.eval()(x)), _tensors(other.eval()(x)), strict=False))
    worst = 0.0 if pairs else float("inf")
    for a, b in pairs:
        if a.shape != b.shape:
            return float("inf")
        if a.numel():
            scale = a.double().abs().max().clamp_min(torch.finfo(torch.float32).tiny)
            error = float((a.double() - b.double()).abs().max() / scale)
            worst = max(worst, error) if error == error else float("inf")
    return worst


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of whatever a network returns, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, Mapping | tuple | list):
        return []
    return [tensor for part in parts for tensor in _tensors(part)]


def _about(source: Source) -> dict[str, Any]:
    return {
        "input_size": [source.channels, *source.input_size],
        **({"mean": list(source.mean)} if source.mean else {}),
        **({"std": list(source.std)} if source.std else {}),
    }


def _save_for_timm(network: nn.Module, folder: Path, source: Source) -> None:
    from timm.models import save_for_hf

    config = {"pretrained_cfg": _about(source), "label_names": list(source.classes)}
    save_for_hf(network, str(folder), config, dict(source.arguments), safe_serialization=True)


def _save(network: nn.Module, folder: Path, source: Source, construction: Construction) -> None:
    from safetensors.torch import save_file

    # a copy of each: safetensors refuses tensors that share memory
    state = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "rfaconv": {
            "format": FORMAT,
            "library": construction.library,
            "name": construction.name,
            "arguments": construction.arguments,
            "conversion": conversion_of(network),
        },
        "label_names": list(source.classes),
        "pretrained_cfg": _about(source),
    }
    (folder / CONFIG).write_text(strict_json(config), encoding="utf-8")


def _card(name: str, source: Source, construction: Construction, converted: bool) -> str:
    classes = f"\nClasses: {', '.join(source.classes)}.\n" if source.classes else ""
    high, wide = source.input_size
    timm = construction.library == "timm" and not converted
    what = f"`{construction.architecture}` of rfaconv and {construction.library}"
    code = (
        f'import timm, rfaconv.models\n\nnetwork = timm.create_model("local-dir:{name}", '
        "pretrained=True)"
        if timm
        else f'from rfaconv.export import from_pretrained\n\nnetwork = from_pretrained("{name}")'
    )
    kind = "image-classification\n" if timm else ""
    tags = "".join(f"- {tag}\n" for tag in (kind.strip(), construction.library, "rfaconv") if tag)
    pipeline = f"pipeline_tag: {kind}" if kind else ""
    library = "timm" if timm else "rfaconv"
    return f"""---
library_name: {library}
{pipeline}tags:
{tags}---
# {name}

{what}, trained at {high}×{wide} pixels.
{classes}
```py
{code}
```
"""
