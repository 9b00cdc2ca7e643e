"""Networks read back from folders: built, converted as they were, and given their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.building import Construction
from rfaconv.surgery.description import converted_like, stored_conversion

WEIGHTS, CONFIG = "model.safetensors", "config.json"
REMOTE = "hf-hub:"


def from_pretrained(place: Path | str, **arguments: Any) -> nn.Module:
    """The network of a folder, in evaluation mode, converted and fused as it was saved.

    Its ``pretrained_cfg`` has ``label_names``, ``mean``, ``std`` and ``input_size``, as far as they
    are known.

    Args:
        place: a folder of :func:`save_pretrained`, or one that timm's ``save_for_hf`` or
            transformers' ``save_pretrained`` wrote of a converted network; or
            ``hf-hub:OWNER/NAME``, which alone uses the network.
        arguments: of the network's construction, such as ``num_classes`` for a timm network with a
            new head.

    Raises:
        InvalidArgument: no such folder, a damaged one, or weights that are not all of the network
            that its configuration describes.
    """
    name = str(place)
    if name.startswith(REMOTE):
        return _remote(name, arguments)
    folder = Path(place)
    config = read_config(folder)
    if _plain_timm(config):
        read_state(folder)  # timm would say what is wrong in a traceback
        return _by_timm(f"local-dir:{folder.resolve()}", arguments)
    return _by_description(folder, config, arguments)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in a folder of a network.

    Raises:
        InvalidArgument: there is none, or it is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        expected = f"a folder with {CONFIG} and {WEIGHTS}, or {REMOTE}OWNER/NAME"
        raise InvalidArgument("place", expected, str(folder))
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidArgument("place", f"a readable {CONFIG}", f"{path} ({reason})") from error
    if not isinstance(config, dict):
        raise InvalidArgument("place", f"an object in {CONFIG}", f"{path}, which has none")
    return config


def read_state(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder of a network.

    Raises:
        InvalidArgument: there are none, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidArgument("place", f"a readable {WEIGHTS}", f"{path} ({reason})") from error
    return state


def _plain_timm(config: Mapping[str, Any]) -> bool:
    return "architecture" in config and stored_conversion(config) is None


def _by_timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        expected = "a network that timm builds, with all its weights"
        raise InvalidArgument("place", expected, f"{name} ({reason})") from error
    return network.eval()


def _remote(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    from huggingface_hub import hf_hub_download

    repository = name.removeprefix(REMOTE)
    folder = Path(hf_hub_download(repository, CONFIG)).parent
    config = read_config(folder)
    if _plain_timm(config):
        return _by_timm(name, arguments)
    return _by_description(Path(hf_hub_download(repository, WEIGHTS)).parent, config, arguments)


def _by_description(
    folder: Path, config: Mapping[str, Any], arguments: Mapping[str, Any]
) -> nn.Module:
    conversion, construction = _described(folder, config)
    made = {**construction.arguments, **arguments}
    network: Any = Construction(construction.library, construction.name, made).build()
    try:
        if conversion["layers"]:
            converted_like(network, conversion)
        state = read_state(folder)
        if arguments:
            state = _with_new_head(network, state)
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        expected = f"all weights of {construction.architecture} and no others"
        raise InvalidArgument("place", expected, f"{folder} ({reason})") from error
    known = dict(config.get("pretrained_cfg") or {})
    known |= {"label_names": list(config.get("label_names") or [])}
    own = getattr(network, "pretrained_cfg", None)
    network.pretrained_cfg = {**(own if isinstance(own, dict) else {}), **known}
    built: nn.Module = network
    return built.eval()


def _described(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], Construction]:
    """Conversion and construction in a configuration of ours, of timm's or of transformers'."""
    own = config.get("rfaconv")
    parts = own if isinstance(own, Mapping) else {}
    if isinstance(parts.get("arguments"), Mapping) and isinstance(parts.get("conversion"), Mapping):
        library, name = str(parts.get("library")), str(parts.get("name"))
        return dict(parts["conversion"]), Construction(library, name, parts["arguments"])
    conversion = stored_conversion(config)
    if conversion is not None and "layers" in conversion:
        if "architecture" in config:
            known = {k: v for k, v in config["pretrained_cfg"].items() if k != "rfaconv"}
            made = {"pretrained_cfg": known, **(config.get("model_args") or {})}
            return dict(conversion), Construction("timm", str(config["architecture"]), made)
        if config.get("architectures"):
            values = {k: v for k, v in config.items() if k not in ("rfaconv", "architectures")}
            kind = str(config["architectures"][0])
            return dict(conversion), Construction("transformers", kind, {"config": values})
    expected = f"a {CONFIG} that says how the network is built"
    raise InvalidArgument("place", expected, str(folder / CONFIG))


def _with_new_head(network: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights without those of a classifier of another width, which keeps its own."""
    known: Any = getattr(network, "pretrained_cfg", None) or {}
    heads = known.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    own = network.state_dict()
    result = dict(state)
    for key, value in state.items():
        if key.startswith(heads) and key in own and own[key].shape != value.shape:
            result[key] = own[key]
    return result
