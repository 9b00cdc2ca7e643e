"""Makes the operators known to other libraries, by name and without changing a file of theirs.

What does it is in :mod:`rfaconv.integrations`; each library is imported when it is registered and
not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rfaconv.errors import RFAConvError, unknown_name

LIBRARIES = ("smp", "timm", "ultralytics")
"""What :func:`register` takes."""

__all__ = ["LIBRARIES", "IntegrationError", "register", "unregister"]


class IntegrationError(RFAConvError, RuntimeError):
    """Another library is missing, too old, or has changed so that the operators do not fit in."""


def register(library: str) -> None:
    """Makes the operators known to a library; a second call changes nothing.

    ``ultralytics`` then takes ``RFAConv``, ``C2f_RFA`` and their kin in model YAMLs, and names such
    as ``yolov8n-rfa.yaml``. ``timm`` and ``smp`` (through its ``tu-`` encoders) know the networks
    of :data:`rfaconv.models.MODEL_NAMES`.

    Args:
        library: ``ultralytics``, ``timm`` or ``smp``.

    Raises:
        InvalidArgument: the name is none of these.
        IntegrationError: the library is missing, too old, or failed the self-test; the message says
            what to do.

    Example:
        >>> register("timm")
        >>> import timm
        >>> timm.list_models("rfa_resnet18")
        ['rfa_resnet18']
    """
    _check(library)
    if library == "ultralytics":
        _ultralytics().install()
    else:
        import_module("rfaconv.models")


def unregister(library: str) -> None:
    """Takes back :func:`register`; the library is as it was. Does nothing if it was not registered.

    timm offers no way to take a model's name back, so for ``timm`` and ``smp`` this is an error.

    Args:
        library: ``ultralytics``.

    Raises:
        InvalidArgument: the name is none that can be taken back.
    """
    _check(library)
    if library != "ultralytics":
        raise unknown_name("library", library, ["ultralytics"])
    import sys

    # what was never imported has changed nothing
    if "rfaconv.integrations.ultralytics.hook" in sys.modules:
        _ultralytics().remove()


def _check(library: str) -> None:
    if library not in LIBRARIES:
        raise unknown_name("library", library, LIBRARIES)


def _ultralytics() -> Any:
    return import_module("rfaconv.integrations.ultralytics.hook")
