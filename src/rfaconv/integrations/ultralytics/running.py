"""Registration while ultralytics is reading a model YAML already.

A file of ``write_model_yaml(..., standalone=True)`` registers the operators in the middle of
``parse_model``, which evaluates the key ``activation``. The call that runs then is the unchanged
one, so its rows are changed under it and the operators put in at its end.
"""

from __future__ import annotations

import builtins
import sys
from importlib import import_module
from types import FrameType
from typing import Any

from rfaconv.integrations import IntegrationError
from rfaconv.integrations.ultralytics.checking import check_rows
from rfaconv.integrations.ultralytics.parsing import put_operators, take_operators


def join(parse: Any) -> None:
    """Lets a call of the original ``parse_model`` that runs now build the operators, too.

    Args:
        parse: the original ``ultralytics.nn.tasks.parse_model``.

    Raises:
        InvalidArgument: as of ``check_rows``.
        IntegrationError: ultralytics has changed so that this does not work.
    """
    frame: FrameType | None = sys._getframe()
    code: Any = getattr(parse, "__code__", None)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    if frame is None:
        return
    config = frame.f_locals["d"]
    check_rows(config)
    wanted = take_operators(config)
    if not wanted:
        return
    # the last thing that parse_model does with its rows is to sort which outputs are kept
    if "sorted" not in code.co_names or "layers" not in code.co_varnames:
        raise IntegrationError("this file needs: rfaconv yolo train model=FILE")
    running = frame
    tasks: Any = import_module("ultralytics.nn.tasks")

    def finish(values: Any) -> list[Any]:
        del tasks.sorted
        # the call may have failed before it came here
        if sys._getframe(1) is running:
            put_operators(running.f_locals["layers"], wanted)
        return builtins.sorted(values)

    tasks.sorted = finish
