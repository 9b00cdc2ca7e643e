"""How the network of another library is built: by a name and by arguments that JSON has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument, unknown_name

_CONFIG_ONLY = ("rfaconv", "transformers_version", "_name_or_path", "architectures")


@dataclass(frozen=True)
class Construction:
    """A network before its weights.

    Attributes:
        library: ``timm``, ``torchvision``, ``smp``, ``ultralytics`` or ``transformers``.
        name: of a model of timm or torchvision, of a class in the others.
        arguments: as JSON has them.
    """

    library: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """``LIBRARY:NAME``; of timm the name alone."""
        return self.name if self.library == "timm" else f"{self.library}:{self.name}"

    def build(self) -> nn.Module:
        """Builds the network, with random weights.

        Raises:
            InvalidArgument: the library is unknown or missing, or does not build it.
        """
        if self.library not in _BUILDERS:
            raise unknown_name("architecture", self.library, _BUILDERS)
        try:
            network = _BUILDERS[self.library](self.name, dict(self.arguments))
        except ModuleNotFoundError as error:
            got = f"{self.architecture!r}, and {error.name} is not installed"
            raise InvalidArgument("architecture", "one of an installed library", got) from error
        except InvalidArgument:
            raise
        except Exception as error:  # each library refuses arguments in its own way
            got = f"{self.architecture!r}: {' '.join(str(error).split())[:200]}"
            expected = "the network's own, with its arguments"
            raise InvalidArgument("architecture", expected, got) from error
        if not isinstance(network, nn.Module):
            raise InvalidArgument("architecture", "a network", repr(self.architecture))
        return network


def named(architecture: str, arguments: Mapping[str, Any]) -> Construction:
    """The construction that a user names: ``LIBRARY:NAME``, or a name of timm's alone."""
    library, colon, name = architecture.partition(":")
    return (
        Construction(library, name, arguments)
        if colon
        else Construction("timm", architecture, arguments)
    )


def network_in(model: Any) -> Any:
    """The network itself: calling ultralytics' ``YOLO`` object predicts on files."""
    wrapped = any(kind.__module__ == "ultralytics.engine.model" for kind in type(model).__mro__)
    return model.model if wrapped else model


def construction_of(network: nn.Module) -> Construction | None:
    """How a network was built, as far as it keeps that itself, or None.

    Networks of torchvision do not keep the function that built them.
    """
    kind = type(network)
    origin = kind.__module__
    config: Any = getattr(network, "config", None)
    if origin.startswith("segmentation_models_pytorch.") and isinstance(config, Mapping):
        # the weights are in the file
        arguments = {k: v for k, v in config.items() if not k.startswith("_")}
        return _of(kind, "smp", {**arguments, "encoder_weights": None})
    if origin.startswith("transformers.") and hasattr(config, "to_dict"):
        values = {k: v for k, v in config.to_dict().items() if k not in _CONFIG_ONLY}
        return _of(kind, "transformers", {"config": values})
    table: Any = getattr(network, "yaml", None)
    if origin == "ultralytics.nn.tasks" and isinstance(table, Mapping):
        return _of(kind, "ultralytics", {"cfg": dict(table)})
    pretrained: Any = getattr(network, "pretrained_cfg", None)
    if isinstance(pretrained, Mapping) and pretrained.get("architecture"):
        # recorded by timm from 1.0.30 or so; before, they have to be given
        made = dict(getattr(network, "_model_args", {}))
        return Construction("timm", pretrained["architecture"], made)
    return None


def _of(kind: type, library: str, arguments: dict[str, Any]) -> Construction | None:
    try:
        plain = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):
        return None
    return Construction(library, kind.__name__, plain)


def _timm(name: str, arguments: dict[str, Any]) -> Any:
    import timm

    import rfaconv.models

    assert rfaconv.models.MODEL_NAMES
    if not timm.is_model(name):
        raise InvalidArgument("architecture", "the name of a network of timm's", repr(name))
    return timm.create_model(name, **arguments)


def _torchvision(name: str, arguments: dict[str, Any]) -> Any:
    models = import_module("torchvision.models")
    if name not in models.list_models():
        raise unknown_name("architecture", f"torchvision:{name}", models.list_models())
    backbone = {} if "weights_backbone" in arguments else _no_backbone_weights(models, name)
    return models.get_model(name, **{"weights": None, **backbone, **arguments})


def _no_backbone_weights(models: Any, name: str) -> dict[str, None]:
    """Detectors and segmenters fetch weights of their backbone unless told otherwise."""
    import inspect

    parameters = inspect.signature(models.get_model_builder(name)).parameters
    return {"weights_backbone": None} if "weights_backbone" in parameters else {}


def _class(module: str, name: str) -> Any:
    found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InvalidArgument("architecture", f"the name of a network in {module}", repr(name))
    return found


def _smp(name: str, arguments: dict[str, Any]) -> Any:
    _timm_encoders(arguments)
    return _class("segmentation_models_pytorch", name)(**arguments)


def _timm_encoders(arguments: Mapping[str, Any]) -> None:
    if str(arguments.get("encoder_name", "")).startswith("tu-"):
        import_module("rfaconv.models")


def _ultralytics(name: str, arguments: dict[str, Any]) -> Any:
    from rfaconv.registration import register

    register("ultralytics")
    table = arguments["cfg"]
    channels = table.get("channels", table.get("ch", 3))
    settings = {"ch": channels, "nc": table.get("nc"), "verbose": False, **arguments}
    return _class("ultralytics.nn.tasks", name)(**settings)


def _transformers(name: str, arguments: dict[str, Any]) -> Any:
    kind = _class("transformers", name)
    return kind(kind.config_class.from_dict(arguments["config"]))


_BUILDERS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "smp": _smp,
    "ultralytics": _ultralytics,
    "transformers": _transformers,
}
