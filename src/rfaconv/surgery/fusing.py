"""Folds the BatchNorm inside operators, for deployment."""

from __future__ import annotations

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.nn._receptive_field import ReceptiveFieldConv


def fuse(model: nn.Module) -> nn.Module:
    """Folds the inner BatchNorm of every receptive-field operator of ``model``, in place.

    The evaluation output stays the same to rounding. A BatchNorm *after* an operator is folded by
    the tools that fold it after a convolution: ``torch.nn.utils.fuse_conv_bn_eval`` and
    ultralytics' ``fuse``; ``timm.models.reparameterize_model`` does what this function does.

    Args:
        model: any network, or an operator.

    Returns:
        The same model.

    Raises:
        InvalidArgument: if ``model`` is not a module, or a BatchNorm has no running statistics.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> sum(isinstance(m, nn.BatchNorm2d) for m in fuse(RFAConv2d(4, 8, 3)).modules())
        0
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgument("model", "a torch.nn.Module", f"a {type(model).__name__}")
    for module in model.modules():
        if isinstance(module, ReceptiveFieldConv):
            module.fuse()
    return model
