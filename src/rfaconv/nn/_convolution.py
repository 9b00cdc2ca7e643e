"""What all operator layers share: a torch convolution whose geometry is read at call time."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.geometry import Window, to_tuple
from rfaconv.ops import tell_flop_counter

Size: TypeAlias = int | Sequence[int]
"""One number of pixels for all spatial dimensions, or one for each."""

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class AttentionConv(nn.modules.conv._ConvNd):
    """A convolution with attention; mixed into ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d``.

    ``weight`` and ``bias`` are those of the final convolution. Stride, padding and dilation are
    read when the layer is called, so tools that change them on a convolution work.
    """

    dims: ClassVar[int] = 2
    published_keys: ClassVar[Mapping[str, str]] = {}
    """Prefixes of the keys of published checkpoints -> prefixes of ours."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str | None,
        dilation: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        tell_flop_counter()
        window = Window.create(kernel_size, stride, padding, dilation, dims=self.dims)
        (in_channels,) = to_tuple("in_channels", in_channels, 1, 1)
        (out_channels,) = to_tuple("out_channels", out_channels, 1, 1)
        (groups,) = to_tuple("groups", groups, 1, 1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise InvalidArgument("groups", f"a divisor of {name}, {channels}", groups)
        if padding_mode not in _PADDING_MODES:
            expected = f"one of {', '.join(_PADDING_MODES)}"
            raise InvalidArgument("padding_mode", expected, repr(padding_mode))
        if dtype is not None and not dtype.is_floating_point:
            raise InvalidArgument("dtype", "a floating point dtype", str(dtype))
        super().__init__(  # type: ignore[call-arg]  # the next class is Conv1d, Conv2d or Conv3d
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=window.kernel,
            stride=window.stride,
            padding=padding if isinstance(padding, str) else tuple(lo for lo, _ in window.padding),
            dilation=window.dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,  # type: ignore[arg-type]  # checked above
            device=device,
            dtype=dtype,
        )

    @property
    def window(self) -> Window:
        """The sliding window, of the present stride, padding and dilation."""
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        if torch.compiler.is_compiling():
            return _window(*geometry)
        try:
            return _known_window(*geometry)
        except TypeError:  # a list, which is not hashable, where torch has tuples
            return _window(*geometry)

    @property
    def inner_window(self) -> Window:
        """The window on the prepared input: unpadded where ``padding_mode`` is not zeros."""
        window = self.window
        if self.padding_mode == "zeros":
            return window
        return Window(window.kernel, window.stride, ((0, 0),) * self.dims, window.dilation)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        rename_keys(state_dict, prefix, self.published_keys)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _window(kernel: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        same = padding == "same"
        pads = tuple((r // 2, r - r // 2) if same else (0, 0) for r in reach)
    else:
        pads = tuple((int(p), int(p)) for p in padding)
    return Window(tuple(kernel), tuple(stride), pads, tuple(dilation))


# a layer asks at every call
_known_window = functools.lru_cache(maxsize=256)(_window)


def rename_keys(state_dict: dict[str, Tensor], prefix: str, names: Mapping[str, str]) -> None:
    """Renames keys ``prefix + old…`` to ``prefix + new…`` in place, where the new one is absent.

    The module's children see the renamed keys too, as torch hands the same mapping down.
    """
    for key in [k for k in state_dict if k.startswith(prefix)]:
        rest = key[len(prefix) :]
        for old, new in names.items():
            if rest == old or rest.startswith(old + "."):
                renamed = prefix + (new + rest[len(old) :]).removeprefix(".")
                if renamed not in state_dict:
                    state_dict[renamed] = state_dict.pop(key)
                break
