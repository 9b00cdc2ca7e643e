"""Reads the state of whatever BatchNorm stands in a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.functional.batch_norm import BatchNormState


def norm_state(norm: Any) -> BatchNormState:
    """Returns what a BatchNorm, SyncBatchNorm or frozen BatchNorm holds.

    Raises:
        InvalidArgument: if it is another kind of layer.
    """
    if not hasattr(norm, "running_mean") or not hasattr(norm, "eps"):
        expected = "a BatchNorm, SyncBatchNorm or frozen BatchNorm"
        raise InvalidArgument("norm", expected, type(norm).__name__)
    trainable = isinstance(norm, nn.modules.batchnorm._BatchNorm)
    batch = trainable and (norm.training or norm.running_mean is None)
    # a layer that tracks no statistics must not touch running buffers that it still has
    update = trainable and norm.training and norm.track_running_stats
    synchronize = (
        batch
        # DistributedDataParallel refuses torch's SyncBatchNorm on a CPU: a norm may say so too
        and (isinstance(norm, nn.SyncBatchNorm) or getattr(norm, "synchronize", False))
        and torch.distributed.is_available()
        and torch.distributed.is_initialized()
    )
    use_running = update or not batch
    return BatchNormState(
        weight=norm.weight,
        bias=norm.bias,
        running_mean=norm.running_mean if use_running else None,
        running_var=norm.running_var if use_running else None,
        num_batches_tracked=norm.num_batches_tracked if update else None,
        momentum=norm.momentum if trainable else None,
        eps=norm.eps,
        use_batch_statistics=batch,
        process_group=getattr(norm, "process_group", None) if synchronize else None,
        synchronize=synchronize,
    )
