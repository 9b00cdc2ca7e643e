"""Sliding windows and problem descriptions: plain numbers, no tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from rfaconv.errors import InvalidArgument


def to_tuple(argument: str, value: object, dims: int, minimum: int) -> tuple[int, ...]:
    """Returns ``value`` (an int or one int per spatial dimension) as a tuple of ``dims`` ints.

    What can stand for an int in Python can here, numpy's integers among them.

    Raises:
        InvalidArgument: if it is anything else or an entry is below ``minimum``.
    """
    kind = f"an int or {dims} ints, each at least {minimum}"
    single = _integer(value)
    if single is not None:
        entries: list[int | None] = [single] * dims
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == dims:
        entries = [_integer(entry) for entry in value]
    else:
        raise InvalidArgument(argument, kind, value)
    result = tuple(entry for entry in entries if entry is not None and entry >= minimum)
    if len(result) != dims:
        raise InvalidArgument(argument, kind, value)
    return result


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)
    except TypeError:  # a tensor or an array of other than one whole number
        return None


@dataclass(frozen=True)
class Window:
    """A sliding window in one, two or three spatial dimensions.

    Attributes:
        kernel: size per dimension, in pixels.
        stride: step per dimension, in pixels.
        padding: zeros before and after the map, per dimension, in pixels.
        dilation: distance of neighbouring taps per dimension, in pixels.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @classmethod
    def create(
        cls,
        kernel_size: object,
        stride: object = 1,
        padding: object = None,
        dilation: object = 1,
        *,
        dims: int = 2,
    ) -> Window:
        """Builds a window from the arguments of a convolution.

        Args:
            kernel_size: int or one int per dimension.
            stride: int or one int per dimension.
            padding: int, one int per dimension, ``"same"`` (stride 1 only), ``"valid"``, or None
                for ``dilation * (kernel - 1) // 2`` on both sides.
            dilation: int or one int per dimension.
            dims: number of spatial dimensions.

        Raises:
            InvalidArgument: for any other value.

        Example:
            >>> Window.create(3, 2).output_size((9, 8))
            (5, 4)
        """
        kernel = to_tuple("kernel_size", kernel_size, dims, 1)
        step = to_tuple("stride", stride, dims, 1)
        spread = to_tuple("dilation", dilation, dims, 1)
        return cls(kernel, step, _padding(padding, kernel, step, spread), spread)

    @classmethod
    def from_ints(cls, values: Sequence[int]) -> Window:
        """Rebuilds a two-dimensional window from :meth:`to_ints`."""
        kh, kw, sh, sw, top, bottom, left, right, dh, dw = values
        return cls((kh, kw), (sh, sw), ((top, bottom), (left, right)), (dh, dw))

    def to_ints(self) -> list[int]:
        """Returns kernel, stride, padding (top, bottom, left, right) and dilation as one list."""
        flat_padding = [side for pair in self.padding for side in pair]
        return [*self.kernel, *self.stride, *flat_padding, *self.dilation]

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @property
    def taps(self) -> int:
        """Number of inputs under the kernel, T."""
        return prod(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from the first to the last tap, both included, per dimension."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def tap_indices(self) -> Iterator[tuple[int, ...]]:
        """Yields the position of every tap in the kernel, in row-major order."""
        return product(*(range(k) for k in self.kernel))

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the number of window positions per dimension for a map of ``size`` pixels."""
        return tuple(
            (n + lo + hi - e) // s + 1
            for n, (lo, hi), e, s in zip(size, self.padding, self.extent, self.stride, strict=True)
        )

    def __str__(self) -> str:
        def join(values: Sequence[int]) -> str:
            return "x".join(map(str, values)) if len(set(values)) > 1 else str(values[0])

        pads = [side for pair in self.padding for side in pair]
        text = f"k{join(self.kernel)}-s{join(self.stride)}-p{join(pads)}"
        return text if set(self.dilation) == {1} else f"{text}-d{join(self.dilation)}"


def _padding(
    padding: object, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    if padding is None:
        return tuple((r // 2, r // 2) for r in reach)
    if padding == "valid":
        return tuple((0, 0) for _ in reach)
    if padding == "same":
        if set(stride) != {1}:
            raise InvalidArgument("padding", "an int or a tuple where stride is not 1", "'same'")
        return tuple((r // 2, r - r // 2) for r in reach)
    if isinstance(padding, str):
        raise InvalidArgument("padding", "'same', 'valid', ints or None", repr(padding))
    return tuple((p, p) for p in to_tuple("padding", padding, len(kernel), 0))


@dataclass(frozen=True)
class Problem:
    """What a backend has to know to say whether it can run an op.

    Attributes:
        op: name of the op, of those in :mod:`rfaconv.ops`.
        variant: ``rfa``, ``rfcbam``, ``rfca`` or ``none``; empty where the op has none.
        device: device type, for example ``cpu``.
        dtype: name of the dtype of the input, for example ``float32``.
        window: the sliding window.
        in_channels: channels of the input; of a gate its hidden channels.
        out_channels: channels of the output; 0 where the op has none.
        groups: groups of the final convolution.
        recorded: whether autograd records the op.
    """

    op: str
    variant: str
    device: str
    dtype: str
    window: Window
    in_channels: int
    out_channels: int = 0
    groups: int = 1
    recorded: bool = False

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return self.window.dims
