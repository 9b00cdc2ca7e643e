"""What an exported file says about its network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.source import Source

_OWN = "rfaconv."
_EXTRA = "rfaconv.json"


def read_metadata(path: Path) -> dict[str, str]:
    """The strings of :meth:`Source.metadata` in a file of ``rfaconv export``.

    Raises:
        InvalidArgument: the file cannot be read, or another program has written it.
    """
    read = next((r for suffix, r in _READERS.items() if path.name.endswith(suffix)), None)
    if read is None:
        raise InvalidArgument("path", f"a name that ends in {' '.join(_READERS)}", path.name)
    try:
        found = {k: str(v) for k, v in read(path).items() if k.startswith(_OWN)}
    except ModuleNotFoundError:
        raise
    except Exception as error:  # five runtimes, each with errors of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidArgument("model", "a file of rfaconv export", f"{path} ({reason})") from error
    if f"{_OWN}input_size" not in found:
        got = f"{path}, which says nothing of its images"
        raise InvalidArgument("model", "a file of rfaconv export", got)
    return found


def exported_source(path: Path) -> Source:
    """A file's description, without its network.

    Raises:
        InvalidArgument: as of :func:`read_metadata`, or what it says is damaged.
    """
    found = read_metadata(path)
    try:
        values: dict[str, Any] = {
            key: json.loads(found.get(_OWN + key, "[]"))
            for key in ("input_size", "classes", "mean", "std")
        }
        height, width = (int(side) for side in values["input_size"])
        mean = tuple(float(value) for value in values["mean"])
        std = tuple(float(value) for value in values["std"])
        choice = json.loads(found.get(f"{_OWN}choice", "{}"))
        if choice and set(choice) != {"score", "iou", "candidates", "boxes"}:
            raise ValueError(f"choice: {', '.join(choice)}")
        return Source(
            nn.Identity(), found.get(f"{_OWN}name", path.stem), (height, width), len(mean) or 3,
            tuple(str(name) for name in values["classes"]), mean, std,
            task=found.get(f"{_OWN}task", ""), resize=found.get(f"{_OWN}resize", ""),
            multiple=int(found.get(f"{_OWN}multiple", "1")),
            choice={str(key): float(value) for key, value in choice.items()},
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError) as error:
        got = f"{path}, whose metadata is damaged ({error})"
        raise InvalidArgument("model", "a file of rfaconv export", got) from error


def _onnx(path: Path) -> Mapping[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: Mapping[str, Any] = session.get_modelmeta().custom_metadata_map
    return found


def _openvino(path: Path) -> Mapping[str, Any]:
    import openvino

    model: Any = openvino.Core().read_model(path)
    own = ("version", "name", "input_size", "classes", "mean", "std", "task", "resize", "multiple",
           "choice")  # fmt: skip
    paths = {key: ["rfaconv", key] for key in own}
    return {_OWN + k: model.get_rt_info(p).value for k, p in paths.items() if model.has_rt_info(p)}


def _aoti(path: Path) -> Mapping[str, Any]:
    from torch._inductor import aoti_load_package

    package: Any = aoti_load_package(str(path))
    found: Mapping[str, Any] = package.get_metadata()
    return found


def _torch_export(path: Path) -> Mapping[str, Any]:
    extra: dict[str, Any] = {_EXTRA: ""}
    torch.export.load(path, extra_files=extra)
    found: Mapping[str, Any] = json.loads(extra[_EXTRA] or "{}")
    return found


def _torchscript(path: Path) -> Mapping[str, Any]:
    import warnings

    extra: dict[str, Any] = {_EXTRA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(path, _extra_files=extra)
    found: Mapping[str, Any] = json.loads(extra[_EXTRA] or "{}")
    return found


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".aoti.pt2": _aoti,
    ".pt2": _torch_export,
    ".torchscript": _torchscript,
}
