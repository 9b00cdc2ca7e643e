"""What RFAConv, RFCBAMConv and RFCAConv share: the receptive-field feature and its BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional.batch_norm import fold_features
from rfaconv.functional.stages import prepare_input, project, receptive_field
from rfaconv.nn._convolution import AttentionConv
from rfaconv.nn._inference import infer
from rfaconv.nn._norm import norm_state

torch.fx.wrap("fold_features")
torch.fx.wrap("prepare_input")
torch.fx.wrap("project")
torch.fx.wrap("receptive_field")

_NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ReceptiveFieldConv(AttentionConv):
    """Features ``f[c] = relu(BatchNorm(G[c] u[c]))`` of every patch u, gated, times the weight.

    Subclasses say what the gate is. State-dict keys: ``weight``, ``bias``, ``feature_weight``
    (C * T, 1, *kernel), ``feature_norm.*`` (after :meth:`fuse`: ``feature_bias``) and those of
    the gate; published key names are understood too.
    """

    variant: ClassVar[str]
    feature_bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = None,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self.backend = backend
        taps = math.prod(self.kernel_size)
        shape = (in_channels * taps, 1, *self.kernel_size)
        self.feature_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("feature_bias", None)
        self.feature_norm: nn.Module = _NORMS[self.dims](
            in_channels * taps, eps=eps, momentum=momentum, device=device, dtype=dtype
        )
        nn.init.kaiming_uniform_(self.feature_weight, a=math.sqrt(5))

    def fuse(self) -> Self:
        """Folds ``feature_norm`` into ``feature_weight`` and ``feature_bias``, for deployment.

        The layer's evaluation output stays the same to rounding; it can no longer be trained as
        before. Calling it again changes nothing.

        Returns:
            The layer itself.

        Raises:
            InvalidArgument: if ``feature_norm`` has no running statistics.
        """
        if self.feature_bias is not None:
            return self
        state = norm_state(self.feature_norm)
        if state.running_mean is None:
            raise InvalidArgument("feature_norm", "running statistics to fold", "none")
        with torch.no_grad():
            weight, bias = fold_features(
                self.feature_weight.new_empty(0, self.in_channels),
                self.feature_weight,
                state._replace(use_batch_statistics=False),
                self.inner_window,
            )
            self.feature_weight.copy_(weight.reshape(self.feature_weight.shape))
            self.feature_bias = nn.Parameter(bias.flatten().to(self.feature_weight.dtype))
        self.feature_norm = nn.Identity()
        return self

    def prepare(self, x: Tensor) -> Tensor:
        """Checks and casts the input, and pads it where ``padding_mode`` is not zeros."""
        return prepare_input(x, self.in_channels, self.weight.dtype, self.window, self.padding_mode)

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns the variant's gate tensors, as :func:`rfaconv.functional.project` takes them."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, *out) for an input (B, C, *size)."""
        if not torch.compiler.is_compiling() and (y := infer(self, input)) is not None:
            return y
        field = self.features(self.prepare(input))
        return project(field, self.gate_tensors(input, field), self.weight, self.bias)

    def features(self, x: Tensor) -> Any:
        """Returns the receptive-field feature of a prepared input, for the stages."""
        window = self.inner_window
        if self.feature_bias is not None:
            taps = window.taps
            weight = self.feature_weight.view(self.in_channels, taps, taps)
            bias = self.feature_bias.view(self.in_channels, taps)
        else:
            weight, bias = fold_features(
                x, self.feature_weight, norm_state(self.feature_norm), window, self.backend
            )
        return receptive_field(x, weight, bias, window, self.variant, self.groups, self.backend)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # a fused layer's state builds a fused layer, whatever state this one is in
        if prefix + "feature_bias" in state_dict and self.feature_bias is None:
            self.feature_bias = nn.Parameter(
                self.feature_weight.new_zeros(len(self.feature_weight))
            )
            self.feature_norm = nn.Identity()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Names the backend beside what a convolution prints."""
        text = str(super().extra_repr())  # type: ignore[no-untyped-call]
        return text if self.backend == "auto" else f"{text}, backend={self.backend!r}"
