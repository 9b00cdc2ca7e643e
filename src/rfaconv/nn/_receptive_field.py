"""What RFAConv, RFCBAMConv and RFCAConv share: the receptive-field feature and its BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.fx
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional._arguments import as_batch, as_given, fitted, matched, prepare_input
from rfaconv.functional.attend import Attention, attend
from rfaconv.functional.batch_norm import BatchNormState, fold_features, matched_norm
from rfaconv.functional.field import measured_field, receptive_field
from rfaconv.functional.projection import project
from rfaconv.nn._children import entry, is_plain_norm, running_norm
from rfaconv.nn._convolution import AttentionConv, Size
from rfaconv.nn._norm import norm_state
from rfaconv.reference import gate_panel, linear_features
from rfaconv.reference.features import tracing

for _name in (
    "as_batch",
    "as_given",
    "fitted",
    "linear_features",
    "matched",
    "matched_norm",
    "measured_field",
    "prepare_input",
    "project",
    "receptive_field",
):
    torch.fx.wrap(_name)

_NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
# what a subclass or an instance may replace, so that the operator must be run by them
_STAGES = ("features", "gate_tensors", "prepare", "window", "inner_window")


class ReceptiveFieldConv(AttentionConv):
    """Features ``f[c] = relu(BatchNorm(G[c] u[c]))`` of every patch u, gated, times the weight.

    Subclasses say what the gate is. State-dict keys: ``weight``, ``bias``, ``feature_weight``
    (C * T, 1, *kernel), ``feature_norm.*`` (after :meth:`fuse`: ``feature_bias``) and those of
    the gate; published key names are understood too.
    """

    variant: ClassVar[str]
    feature_bias: nn.Parameter | None
    feature_norm: nn.Module
    _as_one: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str | None = None,
        dilation: Size = 1,
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
        shape = (self.in_channels * taps, 1, *self.kernel_size)
        self.feature_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("feature_bias", None)
        self.feature_norm = _NORMS[self.dims](
            len(self.feature_weight), eps=eps, momentum=momentum, device=device, dtype=dtype
        )
        self._reset_features()
        self.make_attention(device, dtype)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        owners = {n: next(c for c in order if n in vars(c)) for n in (*_STAGES, "attention_state")}
        own = order.index(owners.pop("attention_state"))
        # an override beside or above the one of attention_state is not covered by it
        cls._as_one = own < order.index(ReceptiveFieldConv) and all(
            order.index(owner) >= own for owner in owners.values()
        )

    def make_attention(self, device: Any, dtype: torch.dtype | None) -> None:
        """Makes the parameters of the attention, as :meth:`reset_attention` initialises them."""
        raise NotImplementedError

    def reset_attention(self) -> None:
        """Initialises the parameters of the attention."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Initialises every parameter, and the statistics of the norms, as a new layer has them."""
        super().reset_parameters()
        if "feature_norm" in self._modules:  # torch's constructor calls this before they exist
            self._reset_features()
            self.reset_attention()

    def _reset_features(self) -> None:
        nn.init.kaiming_uniform_(self.feature_weight, a=math.sqrt(5))
        if self.feature_bias is not None:
            nn.init.zeros_(self.feature_bias)
        reset = getattr(self.feature_norm, "reset_parameters", None)
        if reset is not None:
            reset()

    def fuse(self) -> Self:
        """Folds ``feature_norm`` into ``feature_weight`` and ``feature_bias``, for deployment.

        The layer's evaluation output stays the same to rounding; it can no longer be trained as
        before. Calling it again changes nothing.

        Returns:
            The layer itself.

        Raises:
            InvalidArgument: if ``feature_norm`` is no BatchNorm with running statistics.
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
        """Casts a checked input under autocast, and pads it where ``padding_mode`` wants that."""
        return prepare_input(x, self.window, self.padding_mode)

    def gate_tensors(self, input: Tensor, field: Any) -> Sequence[Tensor]:
        """Returns the variant's gate tensors, as the projection takes them."""
        raise NotImplementedError

    def _gates(self, input: Tensor, field: Any) -> Tensor:
        """The gate of every tap of every window (B, C, T, *out)."""
        tensors = self.gate_tensors(input, field)
        panel: Tensor | None = gate_panel(field.x, tensors, self.variant, field.window)
        if panel is None:  # without attention all are 1
            shape = (*field.x.shape[:2], field.window.taps, *field.out)
            return torch.ones(shape, device=field.x.device, dtype=field.x.dtype)
        return panel

    def attention_state(self) -> Attention | None:
        """What the gate is made from in evaluation; None where its children must be called."""
        return None

    def forward(self, input: Tensor) -> Tensor:
        """Returns (B, O, *out) for an input (B, C, *size), (O, *out) for (C, *size)."""
        y = self._attend(input)
        if y is not None:
            return y
        # once: where it is parametrized, every look computes it anew and may step an iteration
        weight, bias, window = self.weight, self.bias, self.window
        x = fitted(input, weight, bias, self.in_channels, window, self.groups)
        field = self.features(x)
        gate = self.gate_tensors(as_batch(input, window), field)
        return as_given(project(field, gate, weight, bias), input, window)

    def _attend(self, x: Any) -> Tensor | None:
        """The output as one operation; None where a stage must be run, or seen to run."""
        if torch.compiler.is_compiling() or tracing():
            return None
        if not isinstance(x, Tensor):
            return None
        if self.training or not self._as_one or self.padding_mode != "zeros":
            return None
        shape = x.shape
        if len(shape) != 4 or shape[1] != self.in_channels:
            return None
        if not self.__dict__.keys().isdisjoint(_STAGES):
            return None
        attention, features = self.attention_state(), entry(self, "feature_bias")
        state = running_norm(entry(self, "feature_norm")) if features is None else features
        if attention is None or state is None:
            return None
        return attend(
            x, entry(self, "feature_weight"), state, attention, entry(self, "weight"),
            entry(self, "bias"), self.variant, self.groups, self.window, self.backend,
        )  # fmt: skip

    def features(self, x: Tensor) -> Any:
        """Returns the receptive-field feature of an input that fits the layer, for the stages."""
        x, window, own = self.prepare(x), self.inner_window, self.feature_bias
        channels, taps = self.in_channels, window.taps
        size = (channels * taps, 1, *window.kernel)
        weight = matched("feature_weight", self.feature_weight, x, size)
        bias: Tensor | BatchNormState
        if own is not None:
            bias = matched("feature_bias", own, weight, size[:1]).view(channels, taps)
            weight = weight.view(channels, taps, taps)
        elif is_plain_norm(self.feature_norm):
            bias = matched_norm(norm_state(self.feature_norm), weight)
        else:
            # whatever stands in its place sees what it would see in the published layer
            z = self.feature_norm(linear_features(x, weight, window))
            return measured_field(x, z, window, self.variant, self.groups)
        return receptive_field(x, weight, bias, window, self.variant, self.groups, self.backend)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # a fused layer's state builds a fused layer, whatever state this one is in; one that does
        # not fit leaves this one as it is, to be reported
        bias = state_dict.get(prefix + "feature_bias")
        count = len(self.feature_weight)
        if bias is not None and bias.shape == (count,) and self.feature_bias is None:
            self.feature_bias = nn.Parameter(self.feature_weight.new_zeros(count))
            self.feature_norm = nn.Identity()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Names the backend beside what a convolution prints."""
        text = str(super().extra_repr())  # type: ignore[no-untyped-call]
        return text if self.backend == "auto" else f"{text}, backend={self.backend!r}"
