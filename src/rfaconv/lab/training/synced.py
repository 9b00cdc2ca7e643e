"""BatchNorm over all processes, on any device: torch's own SyncBatchNorm needs a GPU."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose batch statistics are those of the images of all processes.

    Every process must hold equally many values. Alone, it is BatchNorm2d.

    Shape: (B, C, H, W) to the same.
    """

    synchronize = True
    """By which the operators know that they reduce the moments of their features."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises with the moments of the global batch."""
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        if not self.training or world == 1:
            output: Tensor = super().forward(input)
            return output
        from rfaconv.functional.batch_norm import _AllReduce

        mean: Tensor = _AllReduce.apply(input.mean((0, 2, 3)), None) / world
        centred = input - mean.view(1, -1, 1, 1)
        variance: Tensor = _AllReduce.apply(centred.square().mean((0, 2, 3)), None) / world
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None
            count = input.numel() // input.shape[1] * world
            self.num_batches_tracked += 1
            part = self.momentum or 1 / float(self.num_batches_tracked)
            with torch.no_grad():
                self.running_mean.lerp_(mean, part)
                self.running_var.lerp_(variance * (count / max(1, count - 1)), part)
        scaled: Tensor = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if not self.affine:
            return scaled
        output = torch.addcmul(self.bias.view(1, -1, 1, 1), scaled, self.weight.view(1, -1, 1, 1))
        return output


def synchronise_(network: nn.Module, device_type: str) -> nn.Module:
    """Makes every BatchNorm take its statistics over all processes; keys stay the same.

    The norms are :class:`GlobalBatchNorm2d` on a CPU and torch's SyncBatchNorm elsewhere.
    """
    if device_type == "cpu":
        for module in network.modules():
            # timm's BatchNormAct2d and the like compute more than a norm and keep their class
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlobalBatchNorm2d
        return network
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return converted
