"""Layers as the published detectors and their forks have them, for tests of importing.

Written from the paper's equations with the published key names; slow and plain.
"""

from __future__ import annotations

import torch
from torch import nn


def spread(x, k):
    """(b, c, k k, h, w) to (b, c, h k, w k)."""
    b, c, _, h, w = x.shape
    return x.view(b, c, k, k, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c, h * k, w * k)


def features(c, k, s):
    conv = nn.Conv2d(c, c * k * k, k, padding=k // 2, stride=s, groups=c, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c * k * k), nn.ReLU())


def tail(c1, c2, k, kind):
    if kind == "fork":
        from ultralytics.nn.modules import Conv

        return Conv(c1, c2, k=k, s=k, p=0)
    conv = nn.Conv2d(c1, c2, k, stride=k)
    return nn.Sequential(conv, *([nn.BatchNorm2d(c2), nn.ReLU()] if kind == "published" else []))


class RFAConv(nn.Module):
    def __init__(self, c1, c2, k, s=1, kind="published"):
        super().__init__()
        self.kernel_size = k
        self.get_weight = nn.Sequential(
            nn.AvgPool2d(k, padding=k // 2, stride=s),
            nn.Conv2d(c1, c1 * k * k, 1, groups=c1, bias=False),
        )
        self.generate_feature = features(c1, k, s)
        self.conv = tail(c1, c2, k, kind)

    def forward(self, x):
        k = self.kernel_size
        weight = self.get_weight(x)
        b, n, h, w = weight.shape
        weight = weight.view(b, n // k**2, k**2, h, w).softmax(2)
        feature = self.generate_feature(x).view(b, n // k**2, k**2, h, w)
        return self.conv(spread(feature * weight, k))


class SE(nn.Module):
    def __init__(self, c, ratio=16):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(c, ratio, bias=False),
            nn.ReLU(),
            nn.Linear(ratio, c, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.fc(x.mean((2, 3)))[:, :, None, None]


class RFCBAMConv(nn.Module):
    def __init__(self, c1, c2, k, s=1, kind="published"):
        super().__init__()
        self.kernel_size = k
        self.generate = features(c1, k, s)
        self.get_weight = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1, bias=False), nn.Sigmoid())
        self.se = SE(c1)
        self.conv = tail(c1, c2, k, kind)

    def forward(self, x):
        k = self.kernel_size
        feature = self.generate(x)
        b, n, h, w = feature.shape
        feature = spread(feature.view(b, n // k**2, k**2, h, w), k)
        most, mean = feature.amax(1, keepdim=True), feature.mean(1, keepdim=True)
        gate = self.get_weight(torch.cat((most, mean), 1))
        return self.conv(feature * self.se(x) * gate)


class RFCAConv(nn.Module):
    def __init__(self, c1, c2, k, s=1, kind="published"):
        super().__init__()
        self.kernel_size = k
        self.generate = features(c1, k, s)
        hidden = max(8, c1 // 32)
        self.conv1 = nn.Conv2d(c1, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv_h = nn.Conv2d(hidden, c1, 1)
        self.conv_w = nn.Conv2d(hidden, c1, 1)
        self.conv = tail(c1, c2, k, "bare" if kind == "published" else kind)

    def forward(self, x):
        k = self.kernel_size
        feature = self.generate(x)
        b, n, h, w = feature.shape
        feature = spread(feature.view(b, n // k**2, k**2, h, w), k)
        rows, columns = feature.mean(3, keepdim=True), feature.mean(2, keepdim=True)
        both = torch.cat((rows, columns.transpose(2, 3)), 2)
        both = self.bn1(self.conv1(both))
        both = both * nn.functional.relu6(both + 3) / 6
        a, c = both.split((h * k, w * k), 2)
        gate_h = self.conv_h(a).sigmoid()
        gate_w = self.conv_w(c.transpose(2, 3)).sigmoid()
        return self.conv(feature * gate_h * gate_w)


LAYERS = {"rfa": RFAConv, "rfcbam": RFCBAMConv, "rfca": RFCAConv}


def as_fork(network, operator, kind):
    """Puts fork layers with weights of their own where a network has the operator."""
    from rfaconv.integrations.ultralytics.operators import LAYERS as OURS

    for name, module in list(network.named_modules()):
        if isinstance(module, OURS[operator]):
            conv = module.conv
            layer = LAYERS[operator](
                conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], kind
            )
            layer.__dict__.update({k: vars(module)[k] for k in "if" if k in vars(module)})
            parent = network.get_submodule(name.rpartition(".")[0])
            parent._modules[name.rpartition(".")[2]] = layer
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as ultralytics sets it
    return network
