"""The laboratory: training, comparing and looking at networks, whatever the task.

May import: everything below the command line. The library, from ``rfaconv.nn`` to
``rfaconv.export``, imports nothing of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfaconv.lab.calibration import calibration_pictures as calibration_pictures
    from rfaconv.lab.sources import load_source as load_source

__all__ = ["calibration_pictures", "load_source"]


def __getattr__(name: str) -> Any:
    # imported when asked for: who wants a recipe alone needs no Lightning
    places = {"calibration_pictures": "calibration", "load_source": "sources"}
    if name not in places:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"rfaconv.lab.{places[name]}"), name)
