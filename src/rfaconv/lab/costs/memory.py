"""Peak of tensor memory on the CPU, where torch keeps no count of its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that come into being while it is active, and their peak.

    Seen are the results of every operation, forward and backward; not seen are buffers that a
    kernel takes and gives back inside one operation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[int, int] = {}
        self.held = 0
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # a view or an in-place result shares the storage of an argument, which was there before
        given = {
            leaf.untyped_storage()._cdata
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf, given)
        return result

    def _add(self, tensor: Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live or key in given:
            return
        size = storage.nbytes()
        self.live[key] = size
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._drop, key).atexit = False

    def _drop(self, key: int) -> None:
        self.held -= self.live.pop(key, 0)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors alive at one time during ``run``, beyond those alive before it.

    On CUDA this is the allocator's own count, which includes buffers inside kernels; on other
    devices that of :class:`LiveBytes`.

    Example:
        >>> peak_bytes(lambda: torch.ones(1000).add(1).add(1), torch.device("cpu"))
        8000
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    mode = LiveBytes()
    with mode:
        run()
    return mode.peak
