"""Writes the report and the plots into the results folder."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from rfaconv.compare.maps import AttentionMaps
from rfaconv.compare.report.page import page
from rfaconv.compare.store import Store
from rfaconv.files import write_atomic


def write_report(store: Store, results: Mapping[str, Any]) -> list[str]:
    """Writes report.html and, where matplotlib is installed, plots/*.png.

    Args:
        store: the results folder.
        results: content of results.json.

    Returns:
        What could not be made, one sentence each.
    """
    notes = []
    maps = {}
    for name in results["settings"]["operators"]:
        try:
            maps[name] = AttentionMaps.load(store.maps(name))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            notes.append(f"no attention maps of {name}: {error or type(error).__name__}")
    write_atomic(store.root / "report.html", page(results, maps))
    if find_spec("matplotlib") is None:
        notes.append("no PNG plots: they need matplotlib (pip install 'rfaconv[plot]')")
    else:
        from rfaconv.compare.report.plots import write_plots

        write_plots(store.root / "plots", results, maps)
    return notes
