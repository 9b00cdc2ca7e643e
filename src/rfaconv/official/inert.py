"""Reads a pickled checkpoint without running anything that it names.

A ``.pt`` of ultralytics and its forks is a pickle of whole modules: to unpickle it is to run what
it says. Here every class and function that it names becomes an inert stand-in which only remembers
what it was given. Tensors are the exception; they are rebuilt by torch from checked arguments.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument


class Inert:
    """Stands for an object whose class is not imported.

    Attributes:
        named: the class or function that the pickle names, with its module.
        arguments: what it was to be called with.
    """

    named: ClassVar[str] = ""
    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        """Takes anything and remembers the positional arguments."""
        made = object.__new__(cls)
        object.__setattr__(made, "arguments", arguments)
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.__dict__.update({k: v for k, v in part.items() if isinstance(k, str)})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__.setdefault("items", []).append((key, value))

    def append(self, value: Any) -> None:
        """Remembers a member of a list."""
        self.__dict__.setdefault("members", []).append(value)

    def extend(self, values: Any) -> None:
        """Remembers members of a list."""
        self.__dict__.setdefault("members", []).extend(values)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class _Rebuild:
    """A function of torch in a shape that a pickle cannot change."""

    __slots__ = ("_function",)
    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a checkpoint must not change functions")

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    # hooks and metadata, which may follow, are left out
    numbers = (offset, *size, *stride)
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor of impossible shape")
    result: Tensor = torch._utils._rebuild_tensor(storage, offset, tuple(size), tuple(stride))
    return result


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _subclass(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    return function(*arguments) if isinstance(function, _Rebuild) else kind


def _object(kind: Any, base: Any, state: Any) -> Any:
    # what pickles of protocol 1 call
    return kind() if isinstance(kind, type) and issubclass(kind, Inert) else state


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _Rebuild(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Rebuild(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Rebuild(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Rebuild(_subclass),
    ("copyreg", "_reconstructor"): _Rebuild(_object),
    ("copy_reg", "_reconstructor"): _Rebuild(_object),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): tuple,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)
    },
}


def _reader(unknown: dict[str, type[Inert]]) -> Any:
    """What ``torch.load`` takes for the module ``pickle``."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            allowed = _ALLOWED.get((module, name))
            if allowed is not None:
                return allowed
            if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
                return getattr(torch, name)
            full = f"{module}.{name}"
            if full not in unknown:
                body = {"named": full, "__module__": __name__}
                unknown[full] = type(name.rpartition(".")[2], (Inert,), body)
            return unknown[full]

    def load(file: Any, **settings: Any) -> Any:
        return Unpickler(file, **settings).load()

    reader: Any = ModuleType("inert")
    reader.Unpickler, reader.load = Unpickler, load
    reader.UnpicklingError = pickle.UnpicklingError
    return reader


def read_inert(path: Path | str) -> tuple[Any, tuple[str, ...]]:
    """The content of a checkpoint with stand-ins for all objects, and the names of their classes.

    Args:
        path: a file of ``torch.save``.

    Raises:
        InvalidArgument: the file is missing, damaged, a TorchScript archive or older than
            PyTorch 1.6.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "network.pt"
        ...     torch.save(torch.nn.ReLU(), file)
        ...     content, names = read_inert(file)
        >>> names, content.training
        (('torch.nn.modules.activation.ReLU',), True)
    """
    path = Path(path)
    expected = "a checkpoint that torch.save wrote"
    if not path.is_file():
        raise InvalidArgument("path", "an existing file", str(path))
    if not zipfile.is_zipfile(path):
        raise InvalidArgument("path", f"{expected} (PyTorch 1.6 or newer)", path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [name.rpartition("/")[2] for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise InvalidArgument("path", expected, f"{path.name}: {error}") from error
    if "constants.pkl" in parts or "data.pkl" not in parts:
        kind = "a TorchScript archive" if "constants.pkl" in parts else "another zip file"
        raise InvalidArgument("path", expected, f"{path.name}, {kind}")
    unknown: dict[str, type[Inert]] = {}
    try:
        # weights_only would refuse what this reader makes inert; the reader is the safe part
        content = torch.load(
            path, map_location="cpu", pickle_module=_reader(unknown), weights_only=False
        )
    except Exception as error:
        # whatever a damaged or hostile file leads to, the caller hears which file it was
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidArgument("path", expected, f"{path.name}: {text}") from error
    return content, tuple(sorted(unknown))


def named(thing: object) -> str:
    """The class that a stand-in stands for, without its module; empty for other objects."""
    return thing.named.rpartition(".")[2] if isinstance(thing, Inert) else ""


def children(module: Any) -> dict[str, Any]:
    """The modules below a module, by name; empty where there are none."""
    found = getattr(module, "_modules", None)
    return dict(found) if isinstance(found, dict) else {}


def named_modules(
    module: Any, prefix: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """All modules below a stand-in with their names, as of ``nn.Module.named_modules``."""
    yield prefix, module
    for name, child in children(module).items():
        if isinstance(child, Inert) and id(child) not in seen:
            below = f"{prefix}.{name}" if prefix else str(name)
            yield from named_modules(child, below, seen | {id(module)})


def state_of(module: Any) -> dict[str, Tensor]:
    """The state dict of a network of stand-ins."""
    state: dict[str, Tensor] = {}
    for prefix, part in named_modules(module):
        hidden = getattr(part, "_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers"):
            for name, value in (getattr(part, group, None) or {}).items():
                if isinstance(value, Tensor) and name not in hidden:
                    state[f"{prefix}.{name}" if prefix else name] = value
    return state
