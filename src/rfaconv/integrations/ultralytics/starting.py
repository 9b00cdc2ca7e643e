"""What happens when ultralytics opens a model or starts a training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics.networks import parse_network


def bring_operators(trainer: object) -> None:
    """A callback that does nothing.

    The processes of a multi-GPU training unpickle the callbacks. This one says that it comes from
    the module that registers the operators, so they import that.
    """


bring_operators.__module__ = "rfaconv.integrations.ultralytics.layers"


def loader(original: Callable[..., None]) -> Callable[..., None]:
    """``Model._load``, which also takes ``yolov8n-rfa``: the configuration without its ending."""

    @functools.wraps(original)
    def _load(self: Any, weights: Any, task: str | None = None) -> None:
        path = Path(str(weights))
        if path.suffix not in ("", ".pt") or path.exists():
            return original(self, weights, task=task)
        named = parse_network(path.stem if path.suffix else path.name)
        if named is None or str(path.parent) != ".":
            return original(self, weights, task=task)
        if path.suffix:
            plain = f"{named.network}.pt"
            expected = (
                f"a file that exists: there are no published weights of {named}. "
                f"{named}.yaml starts from new weights; "
                f"'rfaconv yolo convert {plain} {named.operator} --out {path.name}' from {plain}"
            )
            raise InvalidArgument("model", expected, repr(str(weights)))
        return self._new(f"{path.name}.yaml", task=task)  # type: ignore[no-any-return]

    return _load
